"""Judges of picture and sound together that people bring along, as they are asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Judgement:
    """One number of one clip."""

    metric: str
    value: float


class Judge(Protocol):
    """Sees and hears a clip."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Changes when what it says may change."""
        ...

    @property
    def families(self) -> tuple[str, ...]:
        """Families that it can be asked about."""
        ...

    def __call__(self, frames: NDArray[np.uint8], waveform: NDArray[np.floating]) -> Sequence[Judgement]:
        """What it makes of frames [F, height, width, 3] at 24 per second and a waveform [S] at 24 kHz; nothing where it
        cannot say."""
        ...
