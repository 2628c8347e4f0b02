"""The foal's runs: ``happyhorse train foal``."""

from __future__ import annotations

from collections.abc import Callable

from happyhorse.config import ModelConfig
from happyhorse.config import foal as foal_model
from happyhorse.errors import ConfigError
from happyhorse.recipes.codec import codec_recipes
from happyhorse.recipes.recipe import CacheSet, OptimizerConfig, SampleConfig, Stage, TrainConfig
from happyhorse.types import ClipShape

SHORT, SMALL = ClipShape(2, 64, 64), ClipShape(5, 64, 64)
SQUARE, WIDE, TALL = ClipShape(5, 128, 128), ClipShape(5, 96, 160), ClipShape(5, 160, 96)

PROMPTS = (
    "a red ball bounces on wood",
    "a white horse trots across grass",
    "a person in a blue coat walks through snow",
    "heavy rain in a street",
    'a woman with red hair in front of a blue wall says "bonjour" in French',
)


def foal() -> TrainConfig:
    """The base model: small short clips first, then small long ones, then all preview sizes.

    A step on small pictures costs a third of one on large ones and teaches sound, words and time; the picture is
    mostly learned in the last stage (docs/LOG.md: the video loss starts almost anew there).
    """
    return TrainConfig(
        name="foal",
        model=foal_model(),
        stages=(
            Stage(steps=3000, batch=16, shapes=(SHORT,)),
            Stage(steps=4000, batch=16, shapes=(SMALL,)),
            Stage(steps=3000, batch=8, shapes=(SQUARE, SQUARE, SQUARE, WIDE, TALL)),
        ),
        caches=(
            CacheSet(SHORT, 3000),
            CacheSet(SMALL, 3600),
            CacheSet(SQUARE, 1536),
            CacheSet(WIDE, 384),
            CacheSet(TALL, 384),
        ),
        text_multiple=32,
        compile=True,
        optimizer=OptimizerConfig(kind="muon", learning_rate=2e-3),
        samples=SampleConfig(prompts=PROMPTS, shape=SMALL),
    )


def foal_tiny() -> TrainConfig:
    """A very small model for a few steps: what the tests train, and a rehearsal of everything that a run does."""
    small, wide = ClipShape(0.5, 32, 32), ClipShape(0.5, 32, 64)
    return TrainConfig(
        name="foal-tiny",
        model=ModelConfig(hidden=32, head_dim=16, query_heads=2, kv_heads=1, shared=1),
        stages=(Stage(steps=4, batch=4, shapes=(small,)), Stage(steps=4, batch=2, shapes=(small, wide))),
        caches=(CacheSet(small, 12), CacheSet(wide, 6)),
        optimizer=OptimizerConfig(kind="muon", learning_rate=2e-3, warmup=0.25),
        samples=SampleConfig(every=0, prompts=PROMPTS[:1], shape=small, steps=2),
        log_every=1,
        checkpoint_every=3,
    )


def recipes() -> dict[str, Callable[[], TrainConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {"foal": foal, "foal-tiny": foal_tiny}


def recipe(name: str) -> TrainConfig:
    """The recipe of a name. Raises ConfigError, listing the known ones, if there is none."""
    if name not in recipes():
        raise ConfigError(f'recipe "{name}" is unknown; known are {", ".join([*recipes(), *codec_recipes()])}')
    return recipes()[name]()
