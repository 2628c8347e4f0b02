"""Batched drawing with signed distances: everything a scene paints, at any resolution, without a loop over pixels.

Units are those of ``Canvas``: the shorter side is 2 units and the middle is (0, 0), y downwards. Parameters of shapes
are numbers or tensors that broadcast to [B, F, 1, 1]; a distance is [B, F, h, w], negative inside. Things that do not
move keep a frame axis of 1. The distances are the closed forms of Inigo Quilez, "2D distance functions".
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from happyhorse.data.scenes.scene import FPS, Canvas, Plan

Number = float | Tensor


@dataclasses.dataclass(frozen=True)
class Grid:
    """Pixel centres of a rectangle of a canvas."""

    x: Tensor
    """[w]"""
    y: Tensor
    """[h, 1]"""
    pixel: float
    """Side of a pixel, in units."""
    rows: slice
    columns: slice

    def window(self, left: Number, top: Number, right: Number, bottom: Number) -> Self:
        """The part of the grid that covers the box (of all samples and frames), so that small things cost little."""
        columns = _span(self.x, self.columns, _least(left), _most(right), self.pixel)
        rows = _span(self.y[:, 0], self.rows, _least(top), _most(bottom), self.pixel)
        x = self.x[columns.start - self.columns.start : columns.stop - self.columns.start]
        y = self.y[rows.start - self.rows.start : rows.stop - self.rows.start]
        return dataclasses.replace(self, x=x, y=y, rows=rows, columns=columns)


def grid(canvas: Canvas) -> Grid:
    """All pixels of a canvas."""
    pixel = 2 / min(canvas.height, canvas.width)

    def centres(count: int) -> Tensor:
        return (torch.arange(count, device=canvas.device, dtype=torch.float32) - (count - 1) / 2) * pixel

    return Grid(
        centres(canvas.width), centres(canvas.height)[:, None], pixel, slice(0, canvas.height), slice(0, canvas.width)
    )


def frame_times(canvas: Canvas) -> Tensor:
    """Seconds at which the frames are seen, [F, 1, 1]."""
    return torch.arange(canvas.frames, device=canvas.device, dtype=torch.float32)[:, None, None] / FPS


def numbers(plans: Sequence[Plan], key: str, canvas: Canvas) -> Tensor:
    """A motion number of each plan, [B, 1, 1, 1]."""
    return torch.tensor([float(plan.motion[key]) for plan in plans], device=canvas.device)[:, None, None, None]


def palette(plans: Sequence[Plan], key: str, colours: Mapping[str, str], canvas: Canvas) -> Tensor:
    """The colour that an attribute of each plan stands for, [B, 3]."""
    return torch.stack([rgb(colours[plan.attributes[key]], canvas.device) for plan in plans])


def groups(plans: Sequence[Plan], key: str) -> dict[str, list[int]]:
    """Rows of the batch by the value of an attribute: what is drawn alike is drawn together."""
    found: dict[str, list[int]] = {}
    for row, plan in enumerate(plans):
        found.setdefault(plan.attributes[key], []).append(row)
    return found


def rgb(code: str, device: torch.device | str = "cpu") -> Tensor:
    """``#rrggbb`` to [3] in [0, 1]."""
    return torch.tensor([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)], device=device)


def mix(first: Tensor, second: Tensor, share: Number) -> Tensor:
    """``share`` of the second colour."""
    return first + (second - first) * share


# ---- colours over the picture: [B, 3, F, h, w] or what broadcasts to it ----


def spread(colour: Tensor) -> Tensor:
    """[B, 3] or [3] to [B, 3, 1, 1, 1]; a colour that has its pixels already stays as it is."""
    return colour if colour.dim() == 5 else colour.reshape(-1, 3, 1, 1, 1)


def vertical(area: Grid, stops: Sequence[tuple[float, Tensor]]) -> Tensor:
    """A gradient downwards through ``(y, colour [B, 3] or [3])`` with smooth steps, [B, 3, 1, h, 1]."""
    result = spread(stops[0][1])
    for (above, _), (below, colour) in itertools.pairwise(stops):
        result = mix(result, spread(colour), smoothstep(above, below, area.y))
    return result


def smoothstep(low: Number, high: Number, value: Tensor) -> Tensor:
    """0 below ``low``, 1 above ``high``, smooth between."""
    share = ((value - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)


def picture(background: Tensor, batch: int, canvas: Canvas) -> Tensor:
    """A fresh image [B, 3, F, H, W] filled with a background that broadcasts to it."""
    return background.expand(batch, 3, canvas.frames, canvas.height, canvas.width).clone()


# ---- painting ----


def coverage(sdf: Tensor, pixel: float) -> Tensor:
    """How much of each pixel is inside: antialiased over one pixel."""
    return (0.5 - sdf / pixel).clamp(0, 1)


def paint(image: Tensor, sdf: Tensor, colour: Tensor, area: Grid, opacity: Number = 1.0) -> None:
    """Fill a shape on ``image`` [B, 3, F, H, W] (in place); sdf [B, F, h, w] over ``area``, colour as in ``spread``."""
    blend(image, coverage(sdf, area.pixel) * opacity, colour, area)


def blend(image: Tensor, alpha: Tensor, colour: Tensor, area: Grid) -> None:
    """Lay a colour over ``image`` (in place) with opacity ``alpha`` [B, F, h, w]."""
    view = image[..., area.rows, area.columns]
    alpha = alpha[(None,) * (4 - alpha.dim())]
    view.lerp_(spread(colour), alpha.unsqueeze(1))


def shadow(
    image: Tensor, x: Number, y: Number, wide: Number, tall: Number, area: Grid, strength: Number = 0.35
) -> None:
    """A soft dark ellipse on the ground; its edge fades over the whole of its radius."""
    part = area.window(x - wide, y - tall, x + wide, y + tall)
    far = ((part.x - x) / wide).square() + ((part.y - y) / tall).square()
    blend(image, (1 - far).clamp(min=0).square() * strength, rgb("#101018", image.device), part)


# ---- signed distances: [B, F, h, w] ----


def circle(area: Grid, x: Number, y: Number, radius: Number) -> Tensor:
    return torch.hypot(area.x - x, area.y - y) - radius


def ellipse(area: Grid, x: Number, y: Number, wide: Number, tall: Number) -> Tensor:
    """First-order distance to an ellipse with half axes ``wide`` and ``tall``: exact at the edge, where it matters."""
    across, down = (area.x - x) / wide, (area.y - y) / tall
    level = torch.hypot(across, down)
    slope = torch.hypot(across / wide, down / tall)
    return level * (level - 1) / slope.clamp(min=1e-6)


def capsule(
    area: Grid, x0: Number, y0: Number, x1: Number, y1: Number, start: Number, end: Number | None = None
) -> Tensor:
    """A stroke between two points with radius ``start``, tapering to ``end`` at the second one."""
    across, down = x1 - x0, y1 - y0
    dx, dy = area.x - x0, area.y - y0
    share = ((dx * across + dy * down) / (across * across + down * down + 1e-9)).clamp(0, 1)
    far = torch.hypot(dx - share * across, dy - share * down)
    return far - start if end is None else far - (start + (end - start) * share)


def rounded_box(area: Grid, x: Number, y: Number, wide: Number, tall: Number, radius: Number) -> Tensor:
    """A box with half sides ``wide`` and ``tall`` and rounded corners."""
    across, down = (area.x - x).abs() - wide + radius, (area.y - y).abs() - tall + radius
    outside = torch.hypot(across.clamp(min=0), down.clamp(min=0))
    return outside + torch.maximum(across, down).clamp(max=0) - radius


def union(*shapes: Tensor) -> Tensor:
    result = shapes[0]
    for shape in shapes[1:]:
        result = torch.minimum(result, shape)
    return result


def smooth_union(first: Tensor, second: Tensor, radius: float) -> Tensor:
    """Two shapes melted together over ``radius`` (polynomial smooth minimum)."""
    share = (radius - (first - second).abs()).clamp(min=0) / radius
    return torch.minimum(first, second) - share * share * radius / 4


def difference(first: Tensor, second: Tensor) -> Tensor:
    return torch.maximum(first, -second)


def _least(value: Number) -> float:
    return float(value.min()) if isinstance(value, Tensor) else float(value)


def _most(value: Number) -> float:
    return float(value.max()) if isinstance(value, Tensor) else float(value)


def _span(centres: Tensor, whole: slice, low: float, high: float, pixel: float) -> slice:
    """Indices of the centres within a pixel of [low, high], counted on the canvas, inside of ``whole``."""
    count, first = len(centres), (float(centres[0]) if len(centres) else 0.0)
    start = min(max(math.floor((low - first) / pixel - 1), 0), count)
    stop = max(min(math.ceil((high - first) / pixel + 1) + 1, count), start)
    return slice(whole.start + start, whole.start + stop)
