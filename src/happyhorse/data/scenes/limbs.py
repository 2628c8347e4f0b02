"""Legs that walk: a foot's path over a stride, and the joint between hip and foot."""

from __future__ import annotations

import torch
from torch import Tensor

from happyhorse.data.scenes.shapes import Number


def foot_path(phase: Tensor, stance: float, reach: float, lift: float) -> tuple[Tensor, Tensor]:
    """Place of a foot ahead of its hip and its height over the ground; it touches down where ``phase`` is whole.

    For the share ``stance`` of a stride the foot stands and moves back with the ground, evenly, from ``reach`` to
    ``-reach``; for the rest it swings forward in an arc of height ``lift``.
    """
    share = torch.remainder(phase, 1.0)
    swing = ((share - stance) / (1 - stance)).clamp(0, 1)
    standing = reach * (1 - 2 * share / stance)
    ahead = torch.where(share < stance, standing, -reach * torch.cos(torch.pi * swing))
    return ahead, lift * torch.sin(torch.pi * swing)


def ground_speed(stance: float, reach: float, stride: Number) -> Number:
    """Units per second at which the ground passes so that standing feet do not slide; ``stride`` seconds a stride."""
    return 2 * reach / (stance * stride)


def joint(
    hip: tuple[Tensor, Tensor], foot: tuple[Tensor, Tensor], upper: float, lower: float, bend: float
) -> tuple[Tensor, Tensor]:
    """Place of the knee between ``hip`` and ``foot`` (circle intersection); ``bend`` +1 points it forward, -1 back."""
    across, down = foot[0] - hip[0], foot[1] - hip[1]
    far = torch.hypot(across, down).clamp(min=1e-6)
    along = ((far * far + upper * upper - lower * lower) / (2 * far)).clamp(max=upper)
    aside = bend * (upper * upper - along * along).clamp(min=0).sqrt()
    return hip[0] + (across * along + down * aside) / far, hip[1] + (down * along - across * aside) / far
