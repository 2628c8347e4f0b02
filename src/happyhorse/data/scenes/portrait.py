"""Draws the talkers: head, hair, shoulders, eyes that blink and a mouth as open as its sound says, on a plain wall.

Everything on the head is placed relative to the middle of the face, which sways; units are those of ``Canvas``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import shapes
from happyhorse.data.scenes.scene import FPS, Canvas, Plan
from happyhorse.data.scenes.shapes import Grid, mix, paint, rgb

SKIN = {"light": "#f4cfb4", "brown": "#c68a58", "dark": "#8d5c3a"}
HAIR = {"black": "#25212b", "brown": "#5a331b", "blond": "#dcae4c", "red": "#b93f22", "grey": "#8e939c"}
BACKGROUND = {"blue": "#6a9fdc", "green": "#77ba78", "yellow": "#f2d873", "pink": "#eda3bd", "grey": "#c3c7cd"}
SHIRT = {"man": "#33507a", "woman": "#8c3d63"}

MOUTH_TOP = 0.27
"""Where the upper lip parts from the lower one; only the lower lip and the chin move."""
MOUTH_WIDE = 0.29
"""Half width of the mouth: 29 % of the shorter side in all."""
MOUTH_TALL = 0.32
"""Height of the open mouth: 16 % of the shorter side."""
JAW = 0.09
"""How far the chin drops when the mouth is wide open."""
SWAY = 0.035
SWAY_HERTZ = 0.3
BLINK_SECONDS = 0.22


def draw(plans: Sequence[Plan], canvas: Canvas) -> Tensor:
    """Frames [B, 3, F, height, width] in [0, 1]."""
    area = shapes.grid(canvas)
    image = wall(plans, canvas, area)
    rows = {voice: torch.tensor(found, device=canvas.device) for voice, found in shapes.groups(plans, "voice").items()}
    for voice, index in rows.items():
        part = [plans[row] for row in index.tolist()]
        whole = len(part) == len(plans)
        people = image if whole else image[index]
        person(people, part, voice, canvas, area)
        if not whole:
            image[index] = people
    return image


def wall(plans: Sequence[Plan], canvas: Canvas, area: Grid) -> Tensor:
    """A plain wall, lighter around the head."""
    colour = shapes.spread(shapes.palette(plans, "background", BACKGROUND, canvas))
    glow = (1 - (area.x.square() + (area.y + 0.1).square()) / 2.6).clamp(0, 1)
    return shapes.picture(mix(colour * 0.86, mix(colour, torch.ones_like(colour), 0.22), glow), len(plans), canvas)


def person(image: Tensor, plans: Sequence[Plan], voice: str, canvas: Canvas, area: Grid) -> None:
    """Paint one kind of talker, back to front, on ``image`` [B, 3, F, H, W]."""
    skin = shapes.palette(plans, "skin", SKIN, canvas)
    hair = shapes.palette(plans, "hair", HAIR, canvas)
    x, mouth = sway(plans, canvas), mouths(plans, canvas)
    if voice == "woman":
        long_hair(image, x, hair, area)
    shoulders(image, x, skin, rgb(SHIRT[voice], canvas.device), area)
    head(image, x, mouth, skin, area)
    (fringe if voice == "woman" else short_hair)(image, x, hair, area)
    eyes(image, x, eyelids(plans, canvas), skin, hair, area)
    nose(image, x, skin, area)
    lips(image, x, mouth, skin, area)


# ----------------------------------------------------------------------------------------------------- what moves


def sway(plans: Sequence[Plan], canvas: Canvas) -> Tensor:
    """Sideways place of the head, [B, F, 1, 1]."""
    turn = shapes.numbers(plans, "sway", canvas) + SWAY_HERTZ * shapes.frame_times(canvas)
    return SWAY * torch.sin(2 * math.pi * turn)


def mouths(plans: Sequence[Plan], canvas: Canvas) -> Tensor:
    """Mouth opening of each frame, [B, F, 1, 1]; shut after the truth ends."""
    curves = [(plan.truth.mouth + (0.0,) * canvas.frames)[: canvas.frames] for plan in plans]
    return torch.tensor(curves, device=canvas.device)[:, :, None, None]


def eyelids(plans: Sequence[Plan], canvas: Canvas) -> Tensor:
    """How far the eyes are open, 0..1, [B, F, 1, 1]."""
    times = torch.arange(canvas.frames) / FPS
    rows = []
    for plan in plans:
        blinks = torch.tensor(plan.motion["blinks"] or (-1.0,))
        near = (1 - (times[:, None] - blinks).abs().amin(1) / (BLINK_SECONDS / 2)).clamp(0, 1)
        rows.append(1 - near * near * (3 - 2 * near))
    return torch.stack(rows).to(canvas.device)[:, :, None, None]


# ------------------------------------------------------------------------------------------------ what is painted


def long_hair(image: Tensor, x: Tensor, hair: Tensor, area: Grid) -> None:
    """Hair behind the head, down to the shoulders."""
    part = area.window(x - 0.75, -0.95, x + 0.75, 1.05)
    crown = shapes.ellipse(part, x, -0.22, 0.70, 0.70)
    fall = shapes.rounded_box(part, x, 0.36, 0.68, 0.62, 0.30)
    paint(image, shapes.smooth_union(crown, fall, 0.2), hair * 0.82, part)


def shoulders(image: Tensor, x: Tensor, skin: Tensor, shirt: Tensor, area: Grid) -> None:
    """Shirt and neck; the neck follows the head half way, the shirt stays where it is."""
    low = 2.0 * max(1.0, float(area.y.abs().max()))
    body = shapes.smooth_union(
        shapes.ellipse(area, 0.0, 1.28, 1.04, 0.48),
        shapes.rounded_box(area, 0.0, 1.28 + low / 2, 1.04, low / 2, 0.1),
        0.1,
    )
    paint(image, body[None, None], shirt, area)
    part = area.window(-0.4, 0.3, 0.4, 1.1)
    paint(image, shapes.ellipse(part, 0.0, 0.83, 0.25, 0.15)[None, None], skin * 0.80, part)
    paint(image, shapes.capsule(part, x, 0.4, x * 0.5, 0.72, 0.22), skin * 0.80, part)


def head(image: Tensor, x: Tensor, mouth: Tensor, skin: Tensor, area: Grid) -> None:
    """Ears and face; the chin drops with the mouth."""
    ears = area.window(x - 0.68, -0.22, x + 0.68, 0.20)
    both = (ears.x - x).abs() - 0.55
    paint(image, torch.hypot(both, ears.y + 0.02) - 0.10, skin * 0.90, ears)
    part = area.window(x - 0.6, -0.80, x + 0.6, 0.72 + JAW)
    drop = mouth * JAW
    skull = shapes.ellipse(part, x, -0.16, 0.56, 0.60)
    jaw = shapes.ellipse(part, x, 0.16 + drop / 2, 0.47, 0.50 + drop / 2)
    face = shapes.smooth_union(skull, jaw, 0.3)
    light = (1 - ((part.x - x + 0.12).square() + (part.y + 0.15).square()) / 0.7).clamp(0, 1)
    shade = mix(shapes.spread(skin * 0.90), shapes.spread(skin * 1.03).clamp(max=1), light.unsqueeze(1))
    paint(image, face, shade, part)
    for side in (-1, 1):
        cheek(image, x + side * 0.34, skin, area)


def cheek(image: Tensor, x: Tensor, skin: Tensor, area: Grid) -> None:
    part = area.window(x - 0.16, 0.06, x + 0.16, 0.34)
    far = ((part.x - x) / 0.15).square() + ((part.y - 0.19) / 0.12).square()
    shapes.blend(image, (1 - far).clamp(min=0) * 0.35, mix(skin, rgb("#e0584e", skin.device), 0.6), part)


def short_hair(image: Tensor, x: Tensor, hair: Tensor, area: Grid) -> None:
    """Short sides, more hair on top, swept to one side."""
    part = area.window(x - 0.66, -0.98, x + 0.66, 0.0)
    sides = shapes.ellipse(part, x, -0.20, 0.605, 0.60)
    top = shapes.ellipse(part, x + 0.06, -0.56, 0.56, 0.33)
    cap = shapes.smooth_union(sides, top, 0.12)
    face = shapes.ellipse(part, x - 0.04, 0.02, 0.53, 0.52)
    edge = torch.maximum(shapes.difference(cap, face), part.y + 0.06)
    paint(image, edge, gloss(part, x + 0.1, hair), part)


def fringe(image: Tensor, x: Tensor, hair: Tensor, area: Grid) -> None:
    """Hair over the forehead, swept to both sides from a parting left of the middle, and strands beside the cheeks."""
    part = area.window(x - 0.72, -0.98, x + 0.72, 0.62)
    cap = shapes.ellipse(part, x, -0.16, 0.665, 0.76)
    left = shapes.ellipse(part, x - 0.24, 0.10, 0.30, 0.58)
    right = shapes.ellipse(part, x + 0.10, 0.14, 0.41, 0.70)
    paint(image, shapes.difference(cap, shapes.smooth_union(left, right, 0.06)), gloss(part, x, hair), part)


def gloss(part: Grid, x: Tensor, hair: Tensor) -> Tensor:
    """Hair colour, lighter on the crown, [B, 3, F, h, w]."""
    light = (1 - ((part.x - x + 0.08) / 0.55).square() - ((part.y + 0.70) / 0.22).square()).clamp(0, 1)
    return mix(shapes.spread(hair), shapes.spread(mix(hair, torch.ones_like(hair), 0.16)), light.unsqueeze(1))


def eyes(image: Tensor, x: Tensor, lids: Tensor, skin: Tensor, hair: Tensor, area: Grid) -> None:
    """Both eyes and eyebrows at once: the face is mirrored at its middle."""
    part = area.window(x - 0.42, -0.36, x + 0.42, 0.06)
    mirrored = dataclasses.replace(part, x=(part.x - x).abs())
    seen = shapes.smoothstep(0.05, 0.35, lids)
    lash = dataclasses.replace(mirrored, y=part.y + 2.0 * (mirrored.x - 0.23).square())
    paint(image, shapes.capsule(lash, 0.13, -0.07, 0.33, -0.07, 0.014), skin * 0.45, part, 1 - seen)
    white = shapes.ellipse(mirrored, 0.23, -0.10, 0.115, 0.075 * lids.clamp(min=0.3))
    paint(image, white - 0.022, skin * 0.62, part, seen)
    paint(image, white, rgb("#fbfaf6", image.device), part, seen)
    iris = shapes.circle(mirrored, 0.225, -0.10, 0.062)
    paint(image, torch.maximum(iris, white), rgb("#35261f", image.device), part, seen)
    arched = dataclasses.replace(mirrored, y=part.y - 2.5 * (mirrored.x - 0.21).square())
    brow = shapes.capsule(arched, 0.12, -0.27, 0.34, -0.27, 0.028, 0.016)
    paint(image, brow, mix(hair, skin * 0.3, 0.35), part)


def nose(image: Tensor, x: Tensor, skin: Tensor, area: Grid) -> None:
    part = area.window(x - 0.13, -0.06, x + 0.13, 0.20)
    ridge = shapes.capsule(part, x + 0.02, -0.04, x + 0.045, 0.10, 0.018, 0.03)
    paint(image, ridge, skin * 0.82, part, 0.6)
    paint(image, shapes.ellipse(part, x, 0.125, 0.085, 0.036), skin * 0.80, part, 0.8)


def lips(image: Tensor, x: Tensor, mouth: Tensor, skin: Tensor, area: Grid) -> None:
    """Lips around a dark mouth as tall as it is open; teeth and tongue show when it is."""
    part = area.window(x - 0.36, MOUTH_TOP - 0.09, x + 0.36, MOUTH_TOP + MOUTH_TALL + 0.12)
    # Bent upwards at the corners: a friendly face.
    part = dataclasses.replace(part, y=part.y + 0.55 * (part.x - x).square() * (1 - 0.6 * mouth))
    wide, tall = MOUTH_WIDE - 0.05 * mouth, 0.012 + mouth * (MOUTH_TALL / 2)
    middle = MOUTH_TOP + tall
    inside = shapes.ellipse(part, x, middle, wide, tall)
    rim = shapes.ellipse(part, x, middle + 0.008, wide + 0.025, tall + 0.048)
    paint(image, rim, mix(skin, rgb("#c23b44", image.device), 0.55), part)
    paint(image, inside, rgb("#3a0f16", image.device), part)
    tongue = shapes.ellipse(part, x, middle + 1.05 * tall, 0.16, 0.55 * tall)
    paint(
        image,
        torch.maximum(tongue, inside + 0.012),
        rgb("#b14a52", image.device),
        part,
        shapes.smoothstep(0.3, 0.7, mouth),
    )
    teeth = torch.maximum(inside + 0.014, part.y - MOUTH_TOP - 0.012 - 0.22 * tall - 0.02)
    paint(image, teeth, rgb("#f6f1ea", image.device), part, shapes.smoothstep(0.2, 0.5, mouth))
