"""A coloured ball that keeps bouncing on wood, metal or stone; every impact sounds."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, grounds, shapes
from happyhorse.data.scenes.acoustics import Timbre
from happyhorse.data.scenes.catalogue import Catalogue, beats
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.shapes import Grid, mix, rgb

RADIUS = 0.26
GRAVITY = 11.0
"""Units per second squared: the slowest bounce (0.9 s) then rises 1.1 units."""
CONTACT = 0.035
"""Seconds over which the ball is visibly squashed, on each side of the impact."""

COLOURS = {
    "red": "#d92b2b",
    "orange": "#f08a1c",
    "yellow": "#f6d532",
    "green": "#2f9e4a",
    "blue": "#2b5fd0",
    "purple": "#8a3fb8",
    "white": "#f7f5f0",
    "black": "#26262c",
}

TIMBRES = {
    "wood": Timbre(((196, 0.055, 1.0), (415, 0.04, 0.7), (780, 0.022, 0.4)), ((900, 3500, 0.006, 0.35),), length=0.3),
    "metal": Timbre(
        ((640, 0.30, 0.6), (1510, 0.26, 1.0), (2470, 0.20, 0.7), (3720, 0.14, 0.5), (5230, 0.09, 0.35)),
        ((3000, 9000, 0.005, 0.4),),
        length=1.0,
    ),
    "stone": Timbre(
        ((1180, 0.016, 0.6), (2150, 0.010, 0.5), (150, 0.02, 0.5)), ((1800, 8000, 0.006, 0.8),), length=0.15
    ),
}


@dataclasses.dataclass(frozen=True)
class Ball(Catalogue):
    """The ball family."""

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan:
        rng = random.Random(f"{self.name}-{seed}")
        period = rng.uniform(0.45, 0.9)
        first = rng.uniform(0.12, period)
        times = beats(first, period, seconds)
        motion = {
            "first": first,
            "period": period,
            "middle": rng.uniform(-0.15, 0.15),
            "sway": rng.uniform(0.1, 0.35),
            "sway_phase": rng.uniform(0, 2 * torch.pi),
            "times": times,
            "strengths": (impact_strength(period),) * len(times),
        }
        return self.scene(seed, seconds, attributes, motion)

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        area = shapes.grid(canvas)
        image = shapes.picture(_wall(area, canvas), len(plans), dataclasses.replace(canvas, frames=1))
        still = torch.zeros(1, 1, 1, 1, device=canvas.device)
        for name, rows in shapes.groups(plans, "surface").items():
            grounds.lay(image, rows, name, canvas, still)
        image = shapes.picture(image, len(plans), canvas)
        x, height, squash = trajectory(plans, canvas)
        wide, tall = RADIUS * (1 + 0.14 * squash), RADIUS * (1 - 0.2 * squash)
        spread = wide * (1.15 + 0.5 * height)
        shapes.shadow(image, x, grounds.FEET, spread, 0.3 * spread, area, 0.75 / (1 + 2.5 * height))
        _paint_ball(
            image, x, grounds.FEET - height - tall, wide, tall, shapes.palette(plans, "colour", COLOURS, canvas), area
        )
        return image

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        return acoustics.contacts(plans, [TIMBRES[plan.attributes["surface"]] for plan in plans], samples, device)


def impact_strength(period: float) -> float:
    """Loudness by impact speed, which grows with the time between bounces: 0.5 at 0.45 s, 1 at 0.9 s."""
    return period / 0.9


def trajectory(plans: Sequence[Plan], canvas: Canvas) -> tuple[Tensor, Tensor, Tensor]:
    """Place across, height over the ground and squash (0..1) of the ball, each [B, F, 1, 1].

    Free flight between impacts: h = g u (d - u) / 2, u seconds after the last impact, d the time between impacts.
    """
    time = shapes.frame_times(canvas)
    period = shapes.numbers(plans, "period", canvas)
    since = torch.remainder(time - shapes.numbers(plans, "first", canvas), period)
    height = GRAVITY / 2 * since * (period - since)
    nearest = torch.minimum(since, period - since)
    squash = torch.exp(-(nearest / CONTACT).square())
    angle = 2 * torch.pi / 6 * time + shapes.numbers(plans, "sway_phase", canvas)
    x = shapes.numbers(plans, "middle", canvas) + shapes.numbers(plans, "sway", canvas) * torch.sin(angle)
    return x, height, squash


def _wall(area: Grid, canvas: Canvas) -> Tensor:
    top, bottom = rgb("#5f8f99", canvas.device), rgb("#a9cdca", canvas.device)
    wall = shapes.vertical(area, [(-1.2, top), (grounds.HORIZON, bottom)])
    light = torch.exp(-((area.x + 0.35).square() / 0.9 + (area.y + 0.35).square() / 0.5))
    return mix(wall, shapes.spread(rgb("#d4ebe4", canvas.device)), 0.45 * light)


def _paint_ball(image: Tensor, x: Tensor, y: Tensor, wide: Tensor, tall: Tensor, colour: Tensor, area: Grid) -> None:
    part = area.window(x - wide, y - tall, x + wide, y + tall)
    across, down = (part.x - x) / wide, (part.y - y) / tall
    glow = torch.exp(-2.2 * ((across + 0.38).square() + (down + 0.42).square()))
    shade = 1.08 - 0.42 * torch.sigmoid(4 * (0.55 * across + 0.85 * down - 0.25))
    skin = (shapes.spread(colour) * shade[:, None]).clamp(max=1)
    skin = mix(skin, torch.ones_like(skin[:, :, :1, :1, :1]), 0.5 * glow[:, None])
    shapes.paint(image, shapes.ellipse(part, x, y, wide, tall), skin, part)


FAMILY = Ball(
    name="ball",
    attributes={"colour": tuple(COLOURS), "surface": ("wood", "metal", "stone")},
    withheld=frozenset({("red", "metal"), ("blue", "stone"), ("green", "wood"), ("white", "metal")}),
    templates=(
        "[a|the|one] {colour} ball [bounces|hops|is bouncing|keeps bouncing] [on|over] {surface}",
        "[|a video of |a clip of ]a {colour} ball [bouncing|hopping] [on|over] [a|the] {surface} [floor|ground]",
        "[a|the] ball [bouncing|jumping|that bounces] on [a|the] {surface} floor, [the ball|it] is {colour}",
        "on [a floor of {surface}|the {surface} floor] a {colour} ball [bounces|jumps] [up and down|again and again]",
        "a {colour} [|rubber |toy ]ball [drops|falls] [on|onto] [|the ]{surface} and [bounces|jumps back|hops]",
        "[a|the] {surface} [floor|ground] with a [bouncing|jumping|hopping] {colour} ball",
        "a ball of {colour} colour [bounces|hops] [over|on] a {surface} [surface|floor]",
        "the {colour} ball [jumps|goes|bounces] up and down on [|the ]{surface}",
        "we [hear|see] a {colour} ball [hit|strike|touch] the {surface} [floor|ground][| again and again]",
        "[|we hear ]the sound of a {colour} ball [on|hitting|bouncing on] [|a floor of ]{surface}",
        "{surface} [below|under|beneath] a [|bouncing ]{colour} ball",
        "{colour} ball[,| on] {surface} floor[|, bouncing]",
        "a {colour} ball, [a|the] {surface} [floor|ground], [it bounces|the ball bounces|it hops]",
        "somebody [drops|throws|lets fall] a {colour} ball on [a|the] {surface} [floor|ground]",
        "[the|a] ball is {colour} and [it bounces|it hops|bounces] on [|the ]{surface}",
        "what [bounces|hops|jumps] on the {surface} [floor|ground] is a {colour} ball",
        "[close-up of|look at|here is] a {colour} ball [bouncing|that bounces|jumping] [on|over] {surface}",
        "the {surface} [rings|echoes|answers] each time the {colour} ball [hits|touches|strikes] it",
        "a [game|scene] with a ball: [its|the] colour is {colour}, the [floor|ground] is {surface}",
    ),
    brief=(
        "[a |the |]{colour} ball[| bounces| bouncing]",
        "a [bouncing |]ball [on|over] {surface}",
        "a ball [bounces|hops|is bouncing][| on {surface}| on the {surface} floor]",
        "[we hear|the sound of] a ball on {surface}",
        "{colour} ball",
    ),
    held_out_templates=(
        "a bouncing ball, {colour}, on {surface}",
        "the floor is {surface} and the ball that bounces on it is {colour}",
    ),
)
