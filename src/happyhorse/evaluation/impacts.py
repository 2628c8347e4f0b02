"""When does the ball hit the ground? Impact times from pixels alone.

The ball is what differs from a still background; where its upper part is lowest, it hits. Frames are 42 ms apart, so
the moment between them is the tip of the symmetric free flight around it, a - b |t - t0| + c (t - t0)^2, fitted to the
frames nearby.

Shapes: frames [F, height, width, 3] uint8 at 24 per second; times in seconds. Frame f shows the instant f / 24.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from happyhorse.data.scenes.scene import FPS

Floats = NDArray[np.float64]
Frames = NDArray[np.uint8]

LEAST_TRAVEL = 0.04
"""Least way up and down around an impact, as a share of the picture's height."""
REACH = 5
"""Frames on either side that the free flight is fitted to."""


def ball_impacts(frames: Frames) -> Floats:
    """Times at which the ball is lowest, in seconds; empty if nothing moves up and down."""
    return impacts_of(ball_depth(frames))


def ball_depth(frames: Frames) -> Floats:
    """How low the upper part of the moving thing is in each frame, [F], as a share of the picture's height.

    The upper part, because the ball's shadow lies below it. Frames that show nothing moving repeat their predecessor.
    """
    small = (frames / 255).astype(np.float32)
    distance = np.abs(small - _background(small)).max(axis=-1)
    contrast = float(np.percentile(distance.max(axis=(1, 2)), 50))
    if contrast < 0.06:  # nothing that a person would see
        return np.zeros(len(frames))
    covered = np.clip((distance / contrast - 0.25) / 0.25, 0, 1)
    rows = covered.sum(axis=2)
    filled = np.cumsum(rows, axis=1) / max(float(np.median(rows.sum(axis=1))), 1e-9)
    return _crossing(filled, 0.3) / frames.shape[1]


def _background(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """The still picture behind a moving ball, [height, width, 3].

    A temporal median would show the ball where it spends most of its time. So each pixel takes the moment at which it
    is most like the still columns of its own row; where it never is, it takes their colour.
    """
    movement = (frames.max(axis=0) - frames.min(axis=0)).max(axis=-1).mean(axis=0)
    still = np.argsort(movement, kind="stable")[: max(2, len(movement) // 8)]
    reference = np.median(frames[:, :, still], axis=(0, 2))[:, None]
    distance = np.abs(frames - reference).max(axis=-1)
    moment = np.argpartition(distance, len(frames) // 25, axis=0)[len(frames) // 25]
    background = np.take_along_axis(frames, moment[None, :, :, None], axis=0)[0]
    nearest = np.take_along_axis(distance, moment[None], axis=0)[0]
    covered = nearest > 0.5 * np.percentile(distance.max(axis=(1, 2)), 50)
    return np.where(covered[..., None], reference, background)


def _crossing(filled: Floats, level: float) -> Floats:
    """Row (with fraction) at which each line of ``filled`` [F, height], rising from the top, passes ``level``."""
    result, last = np.zeros(len(filled)), 0.0
    for index, line in enumerate(filled):
        row = int(np.searchsorted(line, level))
        if row < len(line):
            before = line[row - 1] if row else 0.0
            last = row + (level - before) / max(line[row] - before, 1e-9)
        result[index] = last
    return result


def impacts_of(depth: Floats) -> Floats:
    """Times of the lowest points of a curve [F] of depths: local maxima that stand out on both sides."""
    tops = [i for i in range(1, len(depth) - 1) if depth[i - 1] < depth[i] >= depth[i + 1]]
    return np.array([tip(depth, top) for top in tops if _stands_out(depth, top)], np.float64)


def _stands_out(depth: Floats, top: int) -> bool:
    """Whether the curve falls by the least travel on both sides of a top before it rises over it again."""
    return all(_fall(depth[top::step], depth[top]) >= LEAST_TRAVEL for step in (1, -1))


def _fall(path: Floats, height: float) -> float:
    """How far a path that begins at ``height`` goes down before it first rises above it."""
    above = np.flatnonzero(path > height)
    return float(height - path[: above[0] if len(above) else len(path)].min())


def tip(depth: Floats, top: int) -> float:
    """Time of the tip near frame ``top`` in seconds: the best t0, within a frame, of a - b |t - t0| + c (t - t0)^2."""
    low, high = _flight(depth, top)
    time, value = np.arange(low, high, dtype=np.float64), depth[low:high]
    candidates = top + np.linspace(-1, 1, 81)
    errors = [_misfit(time - candidate, value) for candidate in candidates]
    return float(candidates[int(np.argmin(errors))]) / FPS


def _flight(depth: Floats, top: int) -> tuple[int, int]:
    """Frames around ``top`` over which the curve keeps falling, at most ``REACH`` on either side."""
    low = top
    while low > max(0, top - REACH) and depth[low - 1] < depth[low]:
        low -= 1
    high = top
    while high < min(len(depth) - 1, top + REACH) and depth[high + 1] < depth[high]:
        high += 1
    return low, high + 1


def _misfit(time: Floats, value: Floats) -> float:
    basis = np.stack([np.ones_like(time), np.abs(time), time**2], axis=1)
    if len(time) < 5:  # too short a flight for its bend
        basis = basis[:, :2]
    solution = np.linalg.lstsq(basis, value, rcond=None)[0]
    return float(np.square(basis @ solution - value).sum())
