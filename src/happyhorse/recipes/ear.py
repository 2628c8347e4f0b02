"""The recogniser of the speech bank's languages: ``happyhorse train foal-asr``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from happyhorse.config import Config
from happyhorse.recipes.codec import Fit


@dataclasses.dataclass(frozen=True)
class EarRecipe(Config):
    """One run of the recogniser."""

    name: str
    """The recipe's name."""
    fit: Fit
    """Steps and rate."""
    batch: int = 32
    """Sayings of a step."""
    seconds: float = 3.5
    """Length of a saying, silence included."""
    most_words: int = 5
    """Most words of a saying."""
    scripted: float = 0.4
    """Share of sayings that are sentences of the world; the others are words in random order."""
    silent: float = 0.04
    """Share of sayings that say nothing."""
    width: int = 176
    """See EarConfig."""
    blocks: int = 8
    """See EarConfig."""
    seed: int = 0
    """Seed of the weights, the sayings and the noise."""


def foal_asr() -> EarRecipe:
    """The recogniser that comes with the package."""
    return EarRecipe(name="foal-asr", fit=Fit(steps=3000, learning_rate=2e-3))


def foal_asr_tiny() -> EarRecipe:
    """A rehearsal of a few steps."""
    return EarRecipe(
        name="foal-asr-tiny",
        fit=Fit(steps=3, log_every=1, checkpoint_every=2),
        batch=2,
        seconds=2.0,
        width=16,
        blocks=1,
    )


def ear_recipes() -> dict[str, Callable[[], EarRecipe]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {"foal-asr": foal_asr, "foal-asr-tiny": foal_asr_tiny}
