"""The sea: four layers of swell under a sunset, a grey sky or the night, and its surf."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, shapes
from happyhorse.data.scenes.scene import SAMPLE_RATE, Canvas, Plan
from happyhorse.data.scenes.shapes import Grid, mix, rgb


@dataclasses.dataclass(frozen=True)
class Sea:
    """How the sea is."""

    swell: float
    """Height of the nearest wave over its middle, in units."""
    period: float
    """Seconds from crest to crest, give or take a tenth."""
    foam: float
    """Opacity of the white on the crests."""
    level: float
    """Loudness (rms) of the surf at its loudest."""
    low: float
    """Lower edge of the surf's noise band, Hz."""
    high: float
    """Upper edge of the surf's noise band, Hz."""


KINDS = {
    "calm sea": Sea(0.05, 3.2, 0.12, 0.06, 250, 1600),
    "choppy sea": Sea(0.1, 2.5, 0.4, 0.1, 180, 2800),
    "rough sea": Sea(0.16, 1.9, 0.8, 0.17, 120, 4500),
}

SKIES = {
    "sunset": ("#5b4a86", "#f7a65a", "#e8a07c", "#2f4684"),
    "grey": ("#8b98a4", "#cfd6da", "#9fb0b8", "#3f5f70"),
    "night": ("#0c1230", "#2a3763", "#34487a", "#0d1c3a"),
}
"""Colours of the sky's top and foot, and of the far and near water."""

_HORIZON = -0.12
_LAYERS = ((0.02, 1.0, 0.30, 0.15), (0.22, 0.8, 0.55, 0.45), (0.47, 0.6, 0.8, 0.75), (0.78, 0.45, 1.0, 1.0))
"""Middle height, waves per unit, share of the swell and share of the near colour, from far to near."""


def draw(plans: Sequence[Plan], kind: str, canvas: Canvas) -> Tensor:
    """Frames [B, 3, F, H, W] of plans with the same kind of sea."""
    area, one = shapes.grid(canvas), dataclasses.replace(canvas, frames=1)
    still = torch.empty(len(plans), 3, 1, canvas.height, canvas.width, device=canvas.device)
    for name, rows in shapes.groups(plans, "scene").items():
        still[rows] = _sky(name, area, one)
    image = shapes.picture(still, len(plans), canvas)
    turns = crest_turns(plans, canvas)
    far = torch.stack([rgb(SKIES[plan.attributes["scene"]][2], canvas.device) for plan in plans])
    near = torch.stack([rgb(SKIES[plan.attributes["scene"]][3], canvas.device) for plan in plans])
    for index, (height, waves, share, depth) in enumerate(_LAYERS):
        swell = KINDS[kind].swell * share
        angle = 2 * torch.pi * (turns - waves * area.x + 0.37 * (len(_LAYERS) - 1 - index))
        _layer(image, area, height, swell, angle, mix(far, near, depth), KINDS[kind].foam)
    return image


def sound(plans: Sequence[Plan], kind: str, samples: int, device: torch.device | str) -> Tensor:
    """Waveforms [B, samples]: surf that swells with the nearest wave."""
    state = KINDS[kind]
    time = torch.arange(samples, device=device) / SAMPLE_RATE
    level = swell_level(plans, time)
    noise = acoustics.hiss(plans, samples, device)
    rumble = acoustics.band(noise, state.low, 0.4 * state.high)
    spray = acoustics.band(noise.flip(-1), 0.4 * state.high, 2 * state.high)
    return state.level * (rumble * (0.2 + 0.8 * level) + 0.6 * spray * level.square())


def swell_level(plans: Sequence[Plan], time: Tensor) -> Tensor:
    """Loudness 0..1 of the surf at times [S], [B, S]: 1 when the near wave crests in the middle of the picture."""
    phase = torch.tensor([plan.motion["phase"] for plan in plans], device=time.device)[:, None]
    period = torch.tensor([plan.motion["period"] for plan in plans], device=time.device)[:, None]
    return (0.5 + 0.5 * torch.cos(2 * torch.pi * (time / period - phase))).square()


def crest_turns(plans: Sequence[Plan], canvas: Canvas) -> Tensor:
    """Turns of the near wave, [B, F, 1, 1]; whole when it crests in the middle of the picture."""
    time = shapes.frame_times(canvas)
    return time / shapes.numbers(plans, "period", canvas) - shapes.numbers(plans, "phase", canvas)


def _layer(image: Tensor, area: Grid, height: float, swell: float, angle: Tensor, colour: Tensor, foam: float) -> None:
    """One row of waves with sharper crests than troughs: a sine and a little of its second harmonic (Stokes)."""
    crest = torch.cos(angle) + 0.22 * torch.cos(2 * angle)
    part = area.window(area.x.min(), height - 1.3 * swell, area.x.max(), height + 1.3 * swell)
    depth = part.y - height + swell * crest
    shapes.paint(image, -depth, colour, part)
    rest = area.window(area.x.min(), height + 1.3 * swell, area.x.max(), area.y.max())
    shapes.paint(image, height + 1.3 * swell - rest.y, colour, rest)
    thick = 0.01 + 0.25 * swell * shapes.smoothstep(0.0, 1.2, crest)
    white = shapes.smoothstep(0.2, 1.0, crest) * foam
    band = torch.maximum(-depth, depth - thick)
    shapes.paint(image, band, mix(colour, torch.ones_like(colour), 0.8), part, white)
    _lift(image, part, depth, colour)


def _lift(image: Tensor, part: Grid, depth: Tensor, colour: Tensor) -> None:
    """Light that shines through the upper edge of a wave."""
    glow = torch.exp(-depth.clamp(min=0) / 0.05) * shapes.coverage(-depth, part.pixel)
    shapes.blend(image, 0.22 * glow, mix(colour, torch.ones_like(colour), 0.6), part)


def _sky(name: str, area: Grid, canvas: Canvas) -> Tensor:
    top, foot, far, _ = (rgb(code, canvas.device) for code in SKIES[name])
    image = shapes.picture(shapes.vertical(area, [(-1.1, top), (_HORIZON, foot)]), 1, canvas)
    if name == "sunset":
        _disc(image, area, 0.0, _HORIZON - 0.08, 0.24, "#ffe9a8", 0.5)
    if name == "night":
        _disc(image, area, 0.45, -0.66, 0.15, "#f4f2dc", 0.25)
    if name == "grey":
        _clouds(image, area)
    shapes.paint(image, _HORIZON - area.y, far, area)
    return image


def _disc(image: Tensor, area: Grid, x: float, y: float, radius: float, colour: str, halo: float) -> None:
    """Sun or moon with a halo."""
    far = shapes.circle(area, x, y, radius)
    shapes.blend(image, halo * torch.exp(-far.clamp(min=0) / 0.18), rgb(colour, image.device), area)
    shapes.paint(image, far, rgb(colour, image.device), area)


def _clouds(image: Tensor, area: Grid) -> None:
    for x, y, wide in ((-0.5, -0.62, 0.55), (0.55, -0.45, 0.5)):
        far = torch.hypot((area.x - x) / wide, (area.y - y) / 0.16)
        shapes.blend(image, 0.7 * (1 - shapes.smoothstep(0.6, 1.2, far)), rgb("#dfe4e7", image.device), area)
