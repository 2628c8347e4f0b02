"""The straight path from data to noise and its conversions; t = 1 is noise.

    x_t = (1 - t) x0 + t e        v = e - x0

Rectified flow (Liu et al. 2022, arXiv 2209.03003; Lipman et al. 2022, arXiv 2210.02747). Every ``t`` is a number, or a
tensor [B] of one level per sample, or a tensor that broadcasts. Results are float32 (float64 stays float64).
"""

from __future__ import annotations

import torch
from torch import Tensor

Level = float | Tensor


def noisy(data: Tensor, noise: Tensor, t: Level) -> Tensor:
    """x_t, the point between data (t = 0) and noise (t = 1)."""
    level = _level(t, data)
    return (1 - level) * _wide(data) + level * _wide(noise)


def velocity(data: Tensor, noise: Tensor) -> Tensor:
    """The regression target v = e - x0: from data towards noise."""
    return _wide(noise) - _wide(data)


def data_from_velocity(x: Tensor, v: Tensor, t: Level) -> Tensor:
    """x0 = x_t - t v."""
    return _wide(x) - _level(t, x) * _wide(v)


def noise_from_velocity(x: Tensor, v: Tensor, t: Level) -> Tensor:
    """e = x_t + (1 - t) v."""
    return _wide(x) + (1 - _level(t, x)) * _wide(v)


def velocity_from_data(x: Tensor, data: Tensor, t: Level) -> Tensor:
    """v = (x_t - x0) / t; t must not be 0."""
    return (_wide(x) - _wide(data)) / _level(t, x)


def score(x: Tensor, v: Tensor, t: Level) -> Tensor:
    """Gradient of log p(x_t): -E[e | x_t] / t; t must not be 0."""
    return -noise_from_velocity(x, v, t) / _level(t, x)


def step(x: Tensor, v: Tensor, t: Level, s: Level) -> Tensor:
    """Euler's step along the path from level t to level s: x_t + (s - t) v."""
    return _wide(x) + (_level(s, x) - _level(t, x)) * _wide(v)


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _level(t: Level, like: Tensor) -> Level:
    if isinstance(t, Tensor) and t.ndim == 1:
        return t.reshape(-1, *[1] * (like.ndim - 1))
    return t
