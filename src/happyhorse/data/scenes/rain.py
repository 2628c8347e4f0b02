"""Rain: soft slanted streaks in columns, ripples where it lands, and its noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, shapes
from happyhorse.data.scenes.scene import SAMPLE_RATE, Canvas, Plan
from happyhorse.data.scenes.shapes import Grid, capsule, rgb, rounded_box, union


@dataclasses.dataclass(frozen=True)
class Rain:
    """How hard it rains."""

    columns: float
    """Width of a column of streaks, in units."""
    length: float
    """Length of a streak, in units."""
    period: float
    """Seconds after which the rain repeats: a whole number of latent frames."""
    opacity: float
    """Opacity of a streak."""
    ripples: int
    """Number of places where rings spread."""
    light: float
    """Brightness of the place."""
    level: float
    """Loudness (rms)."""
    drops: float
    """Drops heard singly, per second."""


KINDS = {
    "light rain": Rain(0.36, 0.22, 0.5, 0.4, 4, 1.0, 0.035, 14.0),
    "steady rain": Rain(0.24, 0.3, 0.5, 0.45, 6, 0.84, 0.065, 21.0),
    "heavy rain": Rain(0.15, 0.42, 1 / 3, 0.5, 8, 0.68, 0.12, 30.0),
}

PLACES = ("street", "forest", "lake")

_WET = ("street", "lake")
"""Places where drops make rings."""

_HOUSES = (
    (-1.58, 0.42, -0.32, "#7b7a86"),
    (-0.85, 0.34, -0.55, "#8a6d62"),
    (-0.12, 0.42, -0.28, "#a3806a"),
    (0.68, 0.4, -0.68, "#75707c"),
    (1.46, 0.4, -0.4, "#8d7263"),
)
"""Middle, half width, top and colour of each house; those past the middle three are seen in wide pictures."""

_TREES = (
    (-1.3, 1.05, "#476f50"),
    (-0.75, 1.15, "#3f6e4c"),
    (-0.3, 0.9, "#4f7f58"),
    (0.2, 1.25, "#38664a"),
    (0.72, 1.0, "#4a7a55"),
    (1.25, 1.2, "#3c6b4b"),
)
"""Place, height and colour of each tree."""

_SPACING = 1.2
_SLANT = 0.16
_GROUND = 0.35
_BANDS = {"street": (900, 9000), "forest": (350, 3500), "lake": (600, 6000)}
_DROPS = {"street": (1800, 3200), "forest": (350, 800), "lake": (700, 1700)}
_SPOTS = ((-0.62, 0.55), (0.35, 0.5), (-0.1, 0.78), (0.7, 0.82), (-0.75, 0.88), (0.1, 0.47), (0.45, 0.68), (-0.4, 0.7))


def draw(plans: Sequence[Plan], kind: str, canvas: Canvas) -> Tensor:
    """Frames [B, 3, F, H, W] of plans with the same kind of rain."""
    image = torch.empty(len(plans), 3, canvas.frames, canvas.height, canvas.width, device=canvas.device)
    for name, rows in shapes.groups(plans, "scene").items():
        image[rows] = _rainy([plans[row] for row in rows], name, KINDS[kind], canvas)
    return image


def _rainy(plans: Sequence[Plan], name: str, strength: Rain, canvas: Canvas) -> Tensor:
    area = shapes.grid(canvas)
    still = _place(name, area, dataclasses.replace(canvas, frames=1)) * strength.light
    image = shapes.picture(still, len(plans), canvas)
    time = shapes.frame_times(canvas) + shapes.numbers(plans, "phase", canvas)
    for x, y in _SPOTS[: strength.ripples] if name in _WET else ():
        _ripple(image, area, x, y, time / (2 * strength.period) + 0.618 * (7 * x + 3 * y))
    shapes.blend(image, strength.opacity * _streaks(area, strength, time), rgb("#e4eef8", canvas.device), area)
    return image


def sound(plans: Sequence[Plan], kind: str, samples: int, device: torch.device | str) -> Tensor:
    """Waveforms [B, samples]: steady noise coloured by the place, and single drops."""
    strength = KINDS[kind]
    noise = acoustics.hiss(plans, samples, device)
    low, high = torch.tensor([_BANDS[plan.attributes["scene"]] for plan in plans], device=device).float().T[:, :, None]
    wave = strength.level * acoustics.band(noise, low, high)
    return wave + _drops(plans, strength, samples, device)


def _streaks(area: Grid, strength: Rain, time: Tensor) -> Tensor:
    """Opacity of the streaks, [B, F, h, w]: columns along the slant, each with a phase of its own."""
    across = (area.x + _SLANT * area.y) / strength.columns
    column = torch.floor(across)
    side = (torch.remainder(across, 1.0) - 0.5).abs() * strength.columns
    thin = shapes.coverage(side - 0.011, area.pixel)
    fall = area.y / _SPACING - 0.618 * column
    share = torch.remainder(fall - time / strength.period, 1.0) * (_SPACING / strength.length)
    return (4 * share * (1 - share)).clamp(min=0) * thin


def _ripple(image: Tensor, area: Grid, x: float, y: float, phase: Tensor) -> None:
    """A ring that widens and fades, lying flat."""
    share = torch.remainder(phase, 1.0)
    size = 0.05 + 0.2 * share
    part = area.window(x - 0.3, y - 0.12, x + 0.3, y + 0.12)
    ring = shapes.ellipse(part, x, y, size, 0.33 * size).abs() - 0.012
    shapes.paint(image, ring, rgb("#eef6fc", image.device), part, 0.55 * (1 - share))


def _drops(plans: Sequence[Plan], strength: Rain, samples: int, device: torch.device | str) -> Tensor:
    """Short falling tones at random times and pitches."""
    count = max(1, int(strength.drops * samples / SAMPLE_RATE))
    after = torch.arange(int(0.05 * SAMPLE_RATE), device=device) / SAMPLE_RATE
    chance = torch.stack(
        [torch.rand(count, 3, generator=generator, device="cpu") for generator in acoustics.generators(plans)]
    ).to(device)
    low, high = torch.tensor([_DROPS[plan.attributes["scene"]] for plan in plans], device=device).float().T[:, :, None]
    hertz = (low + (high - low) * chance[..., 0])[..., None]
    tone = torch.sin(2 * torch.pi * hertz * after * (1 + 6 * after)) * torch.exp(-after / 0.012)
    tone = tone * (after / acoustics.ATTACK).clamp(max=1)
    levels = 3.0 * strength.level * (0.3 + 0.7 * chance[..., 1:2])
    return acoustics.place(levels * tone, chance[..., 2] * samples / SAMPLE_RATE, samples)


# ---- places: still pictures [1, 3, 1, H, W] ----


def _place(name: str, area: Grid, canvas: Canvas) -> Tensor:
    sky = [(-1.1, rgb("#7d8c9a", canvas.device)), (_GROUND, rgb("#bcc8cf", canvas.device))]
    image = shapes.picture(shapes.vertical(area, sky), 1, canvas)
    {"street": _street, "forest": _forest, "lake": _lake}[name](image, area)
    return image


def _ground(image: Tensor, area: Grid, far: str, near: str) -> None:
    colours = shapes.vertical(area, [(_GROUND, rgb(far, image.device)), (1.1, rgb(near, image.device))])
    alpha = shapes.coverage(_GROUND - area.y, area.pixel)
    shapes.blend(image, alpha, colours, area)


def _street(image: Tensor, area: Grid) -> None:
    for x, wide, top, colour in _HOUSES:
        middle = (top + _GROUND) / 2
        house = rounded_box(area, x, middle, wide, _GROUND - middle + 0.05, 0.02)
        shapes.paint(image, house, rgb(colour, image.device), area)
        windows = [
            rounded_box(area, x + side * wide * 0.45, top + 0.2 + floor, 0.075, 0.085, 0.02)
            for side in (-1, 1)
            for floor in (0.0, 0.3)
            if top + 0.3 + floor < _GROUND
        ]
        shapes.paint(image, union(*windows), rgb("#f2d489", image.device), area)
    _ground(image, area, "#6d747c", "#43494f")


def _forest(image: Tensor, area: Grid) -> None:
    for x, tall, colour in _TREES:
        trunk = capsule(area, x, 0.0, x, _GROUND, 0.05)
        shapes.paint(image, trunk, rgb("#5a4433", image.device), area)
        crown = capsule(area, x, _GROUND - 0.3, x, _GROUND - tall, 0.24, 0.02)
        shapes.paint(image, crown, rgb(colour, image.device), area)
    _ground(image, area, "#6b8a52", "#3f5a35")


def _lake(image: Tensor, area: Grid) -> None:
    hill = 0.12 - 0.16 * torch.cos(1.9 * (area.x - 0.4)) - area.y
    shapes.paint(image, hill, rgb("#6f8a86", image.device), area)
    _ground(image, area, "#9fb6c2", "#4f7186")
