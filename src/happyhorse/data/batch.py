"""What training reads: a batch for a step, from cached latents or from scenes drawn on the fly."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Protocol

from happyhorse.data.scenes.world import FAMILIES
from happyhorse.types import ClipShape, Latents

BRIEF = 0.12
"""Share of prompts that leave something open."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Clean latents and the prompts that describe them ("" is the null prompt)."""

    latents: Latents
    """Video [B, 48, T, H, W] and audio [B, Na, 64], float32."""
    prompts: tuple[str, ...]
    """B prompts."""
    captions: tuple[str, ...] = ()
    """What each clip shows in the one wording of captions, if the source knows it."""


class Source(Protocol):
    """Batches as a pure function of the step, so that a resumed run sees what an uninterrupted one would."""

    def batch(self, step: int, shape: ClipShape, size: int) -> Batch: ...


def seeded(*parts: object) -> random.Random:
    """A generator that depends on all ``parts``; equal parts give equal draws in every process."""
    return random.Random("/".join(map(str, parts)))


def draw_prompt(family: str, attributes: Mapping[str, str], dropout: float, rng: random.Random) -> str:
    """One of the family's paraphrases, or at times of its brief wordings; the null prompt as often as ``dropout``."""
    if rng.random() < dropout:
        return ""
    chosen = FAMILIES[family]
    return chosen.brief_prompt(attributes, rng) if rng.random() < BRIEF else chosen.prompt(attributes, rng)


def draw_prompts(
    clips: Sequence[tuple[str, Mapping[str, str]]], dropout: float, seed: int, step: int
) -> tuple[str, ...]:
    """Prompts for the (family, attributes) of a batch, drawn anew at every step."""
    return tuple(
        draw_prompt(family, attributes, dropout, seeded("prompt", seed, step, row))
        for row, (family, attributes) in enumerate(clips)
    )
