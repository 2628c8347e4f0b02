"""The foal's runs: ``happyhorse train foal``."""

from __future__ import annotations

from collections.abc import Callable

from happyhorse.config import foal as foal_model
from happyhorse.errors import ConfigError
from happyhorse.recipes.claims import claim_recipes
from happyhorse.recipes.codec import codec_recipes, picture_recipes
from happyhorse.recipes.ear import ear_recipes
from happyhorse.recipes.recipe import (
    CacheSet,
    CaptionConfig,
    KnownShares,
    NoiseLaw,
    OptimizerConfig,
    SampleConfig,
    Stage,
    TrainConfig,
)
from happyhorse.recipes.superres import superres_recipes
from happyhorse.types import ClipShape

SHORT = ClipShape(2, 128, 128)
SQUARE, WIDE, TALL = ClipShape(5, 128, 128), ClipShape(5, 96, 160), ClipShape(5, 160, 96)
WORDS = ClipShape(3, 32, 32)
"""Talkers the size of a stamp: the same sentences in the same voices for a seventh of the tokens of a preview."""

PROMPTS = (
    "a red ball bounces on wood",
    "a white horse trots across grass",
    "a person in a blue coat walks through snow",
    "heavy rain in a street",
    'a woman with red hair in front of a blue wall says "bonjour" in French',
)


def foal() -> TrainConfig:
    """The base model: short clips first, which show more scenes for the same work, then all preview sizes at 5 s, a
    few short clips, so that they are not forgotten, and, in three steps of eight, many small talkers, because speech is
    a small part of a clip and has the most to learn.

    There is no stage of small pictures: what it taught was of little use on larger ones (docs/LOG.md).
    """
    return TrainConfig(
        name="foal",
        model=foal_model(),
        stages=(
            Stage(steps=2250, batch=16, shapes=(SHORT,)),
            Stage(steps=12000, batch=8, shapes=(*[SQUARE] * 12, SHORT, WIDE, TALL, *[WORDS] * 9)),
        ),
        caches=(
            CacheSet(SHORT, 4096),
            CacheSet(SQUARE, 6144),
            CacheSet(WIDE, 320),
            CacheSet(TALL, 320),
            CacheSet(WORDS, 8192, family="talker"),
        ),
        noise=NoiseLaw(independent=0.15),
        known=KnownShares(first_frame=0.12, audio=0.1, video=0.15),
        text_multiple=32,
        compile=True,
        optimizer=OptimizerConfig(kind="muon", learning_rate=8e-3),
        samples=SampleConfig(prompts=PROMPTS, shape=SQUARE),
    )


def foal_reading() -> TrainConfig:
    """The second stage again with talkers who mostly say words in random order, to learn reading: it is not learned in
    4,000 steps, and the picture loses by it (docs/LOG.md)."""
    base = foal()
    shapes = (*[SQUARE] * 9, SHORT, WIDE, TALL, *[WORDS] * 12)
    return base.replace(
        name="foal-reading",
        stages=(base.stages[1].replace(steps=4050, shapes=shapes),),
        caches=(*base.caches[:-1], CacheSet(WORDS, 12288, family="loose talker")),
        optimizer=base.optimizer.replace(learning_rate=4e-3),
    )


def foal_caption() -> TrainConfig:
    """The second stage again, from the base's weights, learning to write what a clip shows."""
    base = foal()
    return base.replace(
        name="foal-caption",
        model=foal_model(language_head=True),
        stages=(base.stages[1].replace(steps=1500, shapes=(*[SQUARE] * 6, SHORT, WIDE, TALL, *[WORDS] * 3)),),
        optimizer=base.optimizer.replace(learning_rate=1e-3),  # gentle: what is there must stay
        captions=CaptionConfig(share=1.0, weight=0.25),
    )


def foal_settle() -> TrainConfig:
    """After foal-caption, from its weights: captions in every second step and with little weight, while the rate falls
    and its noise leaves the averaged weights. What generation has lost comes back, what captions need stays."""
    before = foal_caption()
    return before.replace(
        name="foal-settle",
        stages=(before.stages[0].replace(steps=400),),
        caches=tuple(entry.replace(clips=entry.clips // 2) for entry in before.caches),
        captions=CaptionConfig(share=0.5, weight=0.1),
        ema_decay=0.99,
    )


def foal_shapes() -> TrainConfig:
    """The base again from its own weights, at all three aspects alike: what is trained at the square hardly helps the
    others. For a GPU, where a step has 64 clips."""
    before = foal_settle()
    shapes = (*[SQUARE] * 5, *[WIDE] * 3, *[TALL] * 3, SHORT, *[WORDS] * 3)
    return before.replace(
        name="foal-shapes",
        stages=(Stage(steps=760, batch=8, shapes=shapes),),
        caches=(
            CacheSet(SHORT, 1024),
            CacheSet(SQUARE, 4096),
            CacheSet(WIDE, 3072),
            CacheSet(TALL, 3072),
            CacheSet(WORDS, 4096, family="talker"),
        ),
        optimizer=before.optimizer.replace(learning_rate=1.5e-3),
        ema_decay=0.999,
        gpu_scale=8,
    )


def foal_tiny() -> TrainConfig:
    """A very small model for a few steps: what the tests train, and a rehearsal of everything that a run does."""
    small, wide = ClipShape(0.5, 32, 32), ClipShape(0.5, 32, 64)
    return TrainConfig(
        name="foal-tiny",
        model=foal_model(hidden=32, head_dim=16, query_heads=2, kv_heads=1, shared=1),
        stages=(Stage(steps=4, batch=4, shapes=(small,)), Stage(steps=4, batch=2, shapes=(small, wide))),
        caches=(CacheSet(small, 12), CacheSet(wide, 6)),
        optimizer=OptimizerConfig(kind="muon", learning_rate=2e-3, warmup=0.25),
        samples=SampleConfig(every=0, prompts=PROMPTS[:1], shape=small, steps=2),
        log_every=1,
        checkpoint_every=3,
    )


def recipes() -> dict[str, Callable[[], TrainConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    made = (foal, foal_reading, foal_caption, foal_settle, foal_shapes, foal_tiny)
    own = {make.__name__.replace("_", "-"): make for make in made}
    return {**own, **claim_recipes()}


def recipe(name: str) -> TrainConfig:
    """The recipe of a name. Raises ConfigError, listing the known ones, if there is none."""
    if name not in recipes():
        known = [*recipes(), *codec_recipes(), *picture_recipes(), *ear_recipes(), *superres_recipes()]
        raise ConfigError(f'recipe "{name}" is unknown; known are {", ".join(known)}')
    return recipes()[name]()
