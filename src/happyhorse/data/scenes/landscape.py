"""What lies behind the figures: open fields, a park, a winter day, a room."""

from __future__ import annotations

import torch
from torch import Tensor

from happyhorse.data.scenes import shapes
from happyhorse.data.scenes.grounds import HORIZON
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.shapes import Grid, rgb

DRIFT = 0.05
"""Units per second at which hills pass."""


def fields(area: Grid, canvas: Canvas, batch: int, start: Tensor) -> Tensor:
    """A summer sky over green hills that pass slowly; ``start`` [B, 1, 1, 1] says which hills come first (0..1)."""
    image = _sky(area, canvas, batch, "#7fb9e0", "#e3f1f3")
    _hills(image, area, canvas, start, "#8fb8a0", 0.02, 0.9)
    _hills(image, area, canvas, start + 0.37, "#6fa27c", 0.15, 1.4)
    return image


def park(area: Grid, canvas: Canvas, batch: int, start: Tensor) -> Tensor:
    """An autumn park: a warm sky and brown-green hills."""
    image = _sky(area, canvas, batch, "#a9c6d8", "#f3ead6")
    _hills(image, area, canvas, start, "#b5b98f", 0.03, 1.0)
    return image


def winter(area: Grid, canvas: Canvas, batch: int, start: Tensor) -> Tensor:
    """A pale sky over snowy hills."""
    image = _sky(area, canvas, batch, "#8fa9c4", "#d9e3ec")
    _hills(image, area, canvas, start, "#b4c7da", 0.03, 1.0)
    return image


def room(area: Grid, canvas: Canvas, batch: int, start: Tensor) -> Tensor:
    """A wall with a skirting board."""
    image = _sky(area, canvas, batch, "#c9bfae", "#e9e0cf")
    board = area.window(area.x.min(), HORIZON - 0.14, area.x.max(), HORIZON + 0.05)
    shapes.paint(image, shapes.rounded_box(board, 0.0, HORIZON, 9.0, 0.11, 0.0), rgb("#f6f1e6", canvas.device), board)
    return image


def _sky(area: Grid, canvas: Canvas, batch: int, top: str, bottom: str) -> Tensor:
    colours = shapes.vertical(area, [(-1.1, rgb(top, canvas.device)), (HORIZON, rgb(bottom, canvas.device))])
    return shapes.picture(colours, batch, canvas)


def _hills(image: Tensor, area: Grid, canvas: Canvas, start: Tensor, colour: str, top: float, waves: float) -> None:
    """A row of hills whose outline moves to the left; ``waves`` per unit of width."""
    part = area.window(area.x.min(), top - 0.16, area.x.max(), HORIZON + 0.1)
    along = waves * (part.x + DRIFT * waves * shapes.frame_times(canvas)) + 2 * torch.pi * start
    outline = top + 0.1 * torch.sin(2.2 * along) + 0.04 * torch.sin(4.4 * along + 1.0)
    shapes.paint(image, outline - part.y, rgb(colour, canvas.device), part)
