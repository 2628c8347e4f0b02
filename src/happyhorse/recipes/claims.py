"""The design's claims as trainings at equal budget: ``python benchmarks/claims.py``; docs/claims.md has the results.

Every variant changes one thing of the same small run: same scenes, order, noise and number of steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from happyhorse.config import Config
from happyhorse.config import foal as foal_model
from happyhorse.errors import ConfigError
from happyhorse.recipes.recipe import (
    CacheSet,
    KnownShares,
    NoiseLaw,
    OptimizerConfig,
    SampleConfig,
    Stage,
    TrainConfig,
)
from happyhorse.types import ClipShape

SHAPE = ClipShape(2, 64, 64)
LAYERS = 10
NOTHING_GIVEN = KnownShares(first_frame=0, last_frame=0, audio=0, video=0, prefix=0)
REFERENCE = "sandwich"


@dataclasses.dataclass(frozen=True)
class Variant(Config):
    """One change."""

    claim: str
    """What the design claims, that this would do without."""
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Changes of the model."""
    sound_after: bool = False
    """Whether the sound is made for a finished picture instead of together with it."""


VARIANTS: Mapping[str, Variant] = {
    REFERENCE: Variant("the design itself"),
    "all-shared": Variant(
        "layers of their own for every medium at both ends",
        {"specific_first": 0, "shared": LAYERS, "specific_last": 0},
    ),
    "two-streams": Variant(
        "one stream instead of two with cross-attention",
        {"specific_first": LAYERS, "shared": 0, "specific_last": 0, "streams": "crossed"},
    ),
    "ungated": Variant("a gate for every head", {"gate": "none"}),
    "sigmoid": Variant("softmax in the attention", {"attention": "sigmoid"}),
    "timestep": Variant("no timestep", {"timestep": "embedded"}),
    "sound-after": Variant("picture and sound denoised together", sound_after=True),
}


def claim(variant: str) -> TrainConfig:
    """The run of a variant. Raises ConfigError if there is none of that name."""
    if variant not in VARIANTS:
        raise ConfigError(f'variant "{variant}" is unknown; known are {", ".join(VARIANTS)}')
    change = VARIANTS[variant]
    # Half of the steps are then about pictures and half about sounds, so that the budget is the same.
    known = NOTHING_GIVEN.replace(video=0.5) if change.sound_after else NOTHING_GIVEN
    return TrainConfig(
        name=f"claim-{variant}",
        model=foal_model(**change.model),
        stages=(Stage(steps=600, batch=16, shapes=(SHAPE,)),),
        caches=(CacheSet(SHAPE, 4096),),
        noise=NoiseLaw(independent=0, sound_after=change.sound_after),
        known=known,
        text_multiple=32,
        optimizer=OptimizerConfig(kind="muon", learning_rate=8e-3),
        samples=SampleConfig(every=0),
        ema_decay=0.99,
        checkpoint_every=100,
    )


def claim_recipes() -> dict[str, Callable[[], TrainConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {f"claim-{name}": lambda name=name: claim(name) for name in VARIANTS}
