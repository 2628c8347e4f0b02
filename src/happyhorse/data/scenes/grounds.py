"""The ground things stand on: a plane in perspective, in a few large soft features that a small model can learn.

A ground is painted below the horizon. ``scroll`` is how far it has moved under the figure, in units at the depth of the
figure's feet; nearer parts move faster. Its pattern repeats every ``TILE`` units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from happyhorse.data.scenes import shapes
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.shapes import Grid, mix, rgb, smoothstep

HORIZON = 0.30
"""Height at which the ground begins."""

FEET = 0.62
"""Height at which figures touch the ground."""

TILE = 0.55
"""Length after which the pattern of the ground repeats, at the depth of the feet."""

_EYE = -0.15


def surface(name: str, area: Grid, canvas: Canvas, scroll: Tensor) -> Tensor:
    """Colours [B, 3, F, h, w] of the ground ``name`` over ``area``; scroll [B, F, 1, 1] (or all axes 1)."""
    depth = (area.y - _EYE) / (FEET - _EYE)
    along = (area.x / depth + scroll) / TILE
    return _SURFACES[name](area, canvas, along, depth)


def below(area: Grid) -> Grid:
    """The part of the picture that is ground."""
    return area.window(area.x.min(), HORIZON, area.x.max(), area.y.max()) if len(area.y) else area


def lay(image: Tensor, rows: list[int], name: str, canvas: Canvas, scroll: Tensor) -> None:
    """Paint the ground on some rows of the batch (in place); ``scroll`` [B, F, 1, 1] of those rows."""
    area = below(shapes.grid(canvas))
    colours = surface(name, area, canvas, scroll)
    colours = colours.expand(len(rows), *colours.shape[1:])
    alpha = shapes.coverage(HORIZON - area.y, area.pixel)
    for place, row in enumerate(rows):
        shapes.blend(image[row : row + 1], alpha, colours[place : place + 1], area)


def _wave(value: Tensor) -> Tensor:
    return torch.cos(2 * torch.pi * value)


def _wood(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    board = smoothstep(-0.5, 0.5, torch.sin(torch.pi * along))
    seam = smoothstep(0.96, 1.0, _wave(along))
    colour = mix(_colour("#b07a45", canvas), _colour("#9c683a", canvas), board.unsqueeze(-4))
    colour = mix(colour, _colour("#6b4424", canvas), 0.75 * seam.unsqueeze(-4))
    return _near_light(colour, depth, 0.18)


def _metal(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    slant = TILE * along * depth + 0.8 * (area.y - HORIZON)
    shine = torch.exp(-((slant - 0.1) / 0.28).square())
    edge = torch.exp(-((slant - 0.75) / 0.12).square())
    colour = mix(_colour("#76828e", canvas), _colour("#dde7ee", canvas), (0.85 * shine + 0.4 * edge).unsqueeze(-4))
    return _near_light(colour, depth, 0.12)


def _stone(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    patch = _wave(0.42 * along + 0.9 * depth) + _wave(0.61 * along - 1.3 * depth + 0.3)
    colour = mix(_colour("#a49a86", canvas), _colour("#c6bda8", canvas), smoothstep(-0.9, 0.9, patch).unsqueeze(-4))
    return _near_light(colour, depth, 0.15)


def _grass(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    tuft = smoothstep(-0.4, 1.0, _wave(along + 0.6 * depth)) * smoothstep(0.55, 0.9, depth)
    colour = mix(_colour("#5d9a46", canvas), _colour("#79b656", canvas), tuft.unsqueeze(-4))
    return _near_light(colour, depth, 0.2)


def _gravel(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    pebble = _wave(along) * _wave(1.5 * torch.log2(depth) + 0.1)
    colour = mix(_colour("#b8aa93", canvas), _colour("#cfc2ab", canvas), smoothstep(0.1, 0.9, pebble).unsqueeze(-4))
    colour = mix(colour, _colour("#9d8f79", canvas), smoothstep(0.1, 0.9, -pebble).unsqueeze(-4))
    return _near_light(colour, depth, 0.1)


def _cobbles(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    line = 1.9 * torch.log2(depth) + 0.35
    shift = 0.5 * torch.remainder(torch.floor(line), 2)
    joint = torch.maximum(smoothstep(0.55, 0.95, _wave(along + shift)), smoothstep(0.65, 0.98, _wave(line)))
    colour = mix(_colour("#8d93a1", canvas), _colour("#5d6270", canvas), joint.unsqueeze(-4))
    return _near_light(colour, depth, 0.15)


def _snow(area: Grid, canvas: Canvas, along: Tensor, depth: Tensor) -> Tensor:
    drift = smoothstep(-1.0, 1.0, _wave(along + 0.5 * depth))
    colour = mix(_colour("#eef4fa", canvas), _colour("#d3e1ef", canvas), drift.unsqueeze(-4))
    return _near_light(colour, depth, 0.05)


_SURFACES = {
    "wood": _wood,
    "metal": _metal,
    "stone": _stone,
    "grass": _grass,
    "gravel": _gravel,
    "cobbles": _cobbles,
    "snow": _snow,
}


def _colour(code: str, canvas: Canvas) -> Tensor:
    return shapes.spread(rgb(code, canvas.device))


def _near_light(colour: Tensor, depth: Tensor, amount: float) -> Tensor:
    """Darker towards the horizon, so that the plane lies flat."""
    return colour * (1 - amount * (1.25 - depth).clamp(min=0) / 0.65)
