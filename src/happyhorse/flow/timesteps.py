"""Noise levels: the shift, grids to sample on, and the law that training draws from."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from happyhorse.errors import ConfigError


@overload
def shift(u: float, amount: float) -> float: ...
@overload
def shift(u: Tensor, amount: float) -> Tensor: ...
def shift(u: float | Tensor, amount: float) -> float | Tensor:
    """Pushes levels toward noise: ``a u / (1 + (a - 1) u)``, which adds ln a to their logit (arXiv 2403.03206)."""
    return amount * u / (1 + (amount - 1) * u)


def grid(steps: int, amount: float = 5.0) -> list[float]:
    """``steps + 1`` shifted levels from 1 down to 0. Raises ConfigError if ``steps`` is less than 1."""
    _check(steps)
    return [shift(1 - k / steps, amount) for k in range(steps + 1)]


def magihuman_grid(steps: int, amount: float = 5.0) -> list[float]:
    """The published models' levels: like ``grid`` but from 0.999 before the shift, so that the first is below 1."""
    _check(steps)
    return [shift(0.999 * (1 - k / steps), amount) for k in range(steps)] + [0.0]


def _check(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"{steps} steps make nothing; use at least 1")


def draw_times(
    count: int,
    amount: float,
    uniform_share: float = 0.1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Training levels [count] in (0, 1): shifted logit-normal, with some uniform so that both ends are trained."""
    levels = shift(torch.sigmoid(torch.randn(count, generator=generator)), amount)
    uniform = torch.rand(count, generator=generator)
    chosen = torch.rand(count, generator=generator) < uniform_share
    return torch.where(chosen, uniform, levels)
