"""When do feet and hooves land? Step times from pixels alone, by a linear detector fitted on real scenes.

What moves is what differs from the clip's temporal median. Its grid of cells is written in a few principal directions;
seven frames of these, side by side, tell by ridge regression how near a footfall is. Peaks of that are steps.

Shapes: frames uint8 [F, height, width, 3] at 24 per second; motion [F, CELLS^2]; times in seconds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from happyhorse.data.scenes.scene import FPS
from happyhorse.evaluation.adherence import cells
from happyhorse.evaluation.sync import parabolic

CELLS = 24
REACH = 3
"""Frames on either side of the one that is judged."""
DIRECTIONS = 48
RIDGE = 100.0
WIDTH = 0.04
"""Seconds from a footfall at which its bump has fallen to exp(-1/2)."""
THRESHOLD = 0.35
"""Least height of a peak, where footfalls have 1; in a clip in which nothing lands there are none."""


def motion(frames: NDArray[np.uint8]) -> Tensor:
    """How much each cell of each frame differs from its temporal median, [F, CELLS^2], in units of the clip's strong
    differences (98th percentile): their mean would grow with flicker, and the steps would shrink."""
    grid = cells(frames, CELLS)
    away = (grid - grid.median(dim=0).values).abs().amax(dim=1).flatten(1)
    return away / torch.quantile(away.amax(dim=0), 0.98).clamp(min=1e-2)


@dataclasses.dataclass(frozen=True)
class StepDetector:
    """Footfall times of one kind of scene."""

    mean: Tensor
    """[CELLS^2]"""
    directions: Tensor
    """[DIRECTIONS, CELLS^2]"""
    weight: Tensor
    """[DIRECTIONS (2 REACH + 1) + 1]; the last one is the bias."""

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Times at which a foot lands, in seconds."""
        return self.times(motion(frames))

    def times(self, moved: Tensor) -> NDArray[np.float64]:
        """The same from the clip's ``motion`` [F, CELLS^2]."""
        height = (_windows((moved - self.mean) @ self.directions.T) @ self.weight).double().numpy()
        inner = height[1:-1]
        peaks = 1 + np.flatnonzero((inner > height[:-2]) & (inner >= height[2:]) & (inner > THRESHOLD))
        return np.array([(peak + parabolic(height, peak)) / FPS for peak in peaks.tolist()], np.float64)


def fit_steps(motions: Sequence[Tensor], events: Sequence[Sequence[float]]) -> StepDetector:
    """A detector from the motion of real clips and their true footfall times."""
    whole = torch.cat(list(motions))
    mean = whole.mean(dim=0)
    spread = torch.linalg.eigh((whole - mean).double().T @ (whole - mean).double())[1]
    directions = spread[:, -DIRECTIONS:].T.flip(0).float()
    inputs = torch.cat([_windows((part - mean) @ directions.T) for part in motions]).double()
    targets = torch.cat([bumps(times, len(part)) for part, times in zip(motions, events, strict=True)])
    ridge = RIDGE * inputs[:, :-1].square().mean() * torch.eye(inputs.shape[1], dtype=torch.float64)
    ridge[-1, -1] = 0  # the bias is free
    weight = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets)
    return StepDetector(mean, directions, weight.float())


def bumps(times: Sequence[float], frames: int) -> Tensor:
    """A bump of height one at each time, seen at the frames' instants, [frames]."""
    away = torch.arange(frames, dtype=torch.float64)[:, None] / FPS - torch.tensor(list(times), dtype=torch.float64)
    return torch.exp(-0.5 * (away / WIDTH).square()).sum(dim=1)


def _windows(coordinates: Tensor) -> Tensor:
    """Rows [F, D] with their neighbours and a one, [F, D (2 REACH + 1) + 1]; the ends are repeated."""
    first, last = coordinates[:1].expand(REACH, -1), coordinates[-1:].expand(REACH, -1)
    beside = torch.cat([first, coordinates, last]).unfold(0, 2 * REACH + 1, 1).flatten(1)
    return torch.cat([beside, torch.ones(len(beside), 1)], dim=1)
