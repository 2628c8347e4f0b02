"""What a procedural scene is: a plan made from a seed, drawn and sounded at any resolution, with its truth known."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

FPS = 24
SAMPLE_RATE = 24_000


@dataclasses.dataclass(frozen=True)
class Truth:
    """What really happens in a scene, in seconds from its start."""

    events: tuple[float, ...] = ()
    """Times of the events that make a sound and can be seen (impacts, hoof beats, footfalls)."""
    strengths: tuple[float, ...] = ()
    """Loudness of each event, 0..1."""
    mouth: tuple[float, ...] = ()
    """Mouth opening of each frame, 0..1 (talkers only)."""
    words: tuple[tuple[str, float, float], ...] = ()
    """Spoken words with their start and end (talkers only)."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """One scene, decided: cheap to make, enough to draw it, sound it and describe it."""

    family: str
    seed: int
    seconds: float
    attributes: Mapping[str, str]
    """Everything that the prompt can name: {"colour": "red", "surface": "wood"}."""
    motion: Mapping[str, Any]
    """Everything else that the drawing and the sound need: numbers and tuples of numbers, decided from the seed."""
    truth: Truth


@dataclasses.dataclass(frozen=True)
class Canvas:
    """Where scenes are drawn. The shorter side is 2 units, (0, 0) is the middle, y runs downwards."""

    frames: int
    height: int
    width: int
    device: torch.device | str = "cpu"


class Family(Protocol):
    """A kind of scene. Plans are pure Python from a seed; drawing and sound are batched tensor maths on any device."""

    @property
    def name(self) -> str: ...

    @property
    def attributes(self) -> Mapping[str, tuple[str, ...]]:
        """The attributes a prompt can name, and their values."""
        ...

    @property
    def wordings(self) -> tuple[str, ...]:
        """All templates that training prompts are made of."""
        ...

    def held_out(self, attributes: Mapping[str, str]) -> bool:
        """Whether this combination (or sentence) is kept out of training."""
        ...

    def choose(self, rng: random.Random, held_out: bool, seconds: float) -> dict[str, str]:
        """Attributes drawn at random among those that are trained on, or among those that are held out."""
        ...

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan: ...

    def prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        """One of several paraphrases that name every attribute."""
        ...

    def brief_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        """A wording that leaves some attributes open."""
        ...

    def held_out_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        """One of the paraphrases that are never trained on."""
        ...

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        """Frames [B, 3, F, height, width] in [0, 1]."""
        ...

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        """Waveform [B, samples] at 24 kHz, peak below 1."""
        ...
