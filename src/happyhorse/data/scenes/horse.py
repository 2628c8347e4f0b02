"""A horse seen from the side that trots over grass, gravel or cobbles; a hoof beat each time a pair of hooves lands.

The trot is the clearest gait to see and to hear: diagonal legs land together, twice in a stride.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, grounds, landscape, shapes
from happyhorse.data.scenes.acoustics import Timbre
from happyhorse.data.scenes.catalogue import Catalogue, beats
from happyhorse.data.scenes.limbs import foot_path, joint
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.shapes import Grid, capsule, mix, smooth_union

STANCE = 0.42
REACH = STANCE * grounds.TILE
"""Half of the way that a foot stands for: a stride is then two tiles long, and picture and ground repeat together."""
LIFT = 0.2
UPPER, LOWER = 0.31, 0.33
HIP_HIND, HIP_FRONT, HIP_HEIGHT = -0.44, 0.26, 0.06

COATS = {"brown": "#6b4226", "black": "#2a2a30", "white": "#f4f1ea", "grey": "#8d9199", "chestnut": "#c4622a"}
MANES = {"brown": "#2a1a10", "black": "#121216", "white": "#d5cfc2", "grey": "#4d515a", "chestnut": "#f0cf8e"}

TIMBRES = {
    "grass": Timbre(((72, 0.05, 1.0), (118, 0.035, 0.7)), ((60, 420, 0.03, 0.5),), length=0.2),
    "gravel": Timbre(((95, 0.03, 0.5),), ((1200, 6500, 0.06, 0.8),), (5, 0.045), length=0.2),
    "cobbles": Timbre(
        ((640, 0.03, 1.0), (985, 0.024, 0.8), (1720, 0.014, 0.4)), ((1500, 6000, 0.005, 0.4),), length=0.18
    ),
}


@dataclasses.dataclass(frozen=True)
class Horse(Catalogue):
    """The horse family."""

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan:
        rng = random.Random(f"{self.name}-{seed}")
        stride = rng.uniform(0.46, 0.56)
        first = rng.uniform(0.12, stride / 2)
        times = beats(first, stride / 2, seconds)
        motion = {
            "first": first,
            "stride": stride,
            "hills": rng.uniform(0, 1),
            "times": times,
            "strengths": tuple(0.9 if index % 2 == 0 else 0.7 for index in range(len(times))),
        }
        return self.scene(seed, seconds, attributes, motion)

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        area = shapes.grid(canvas)
        time, stride = shapes.frame_times(canvas), shapes.numbers(plans, "stride", canvas)
        phase = (time - shapes.numbers(plans, "first", canvas)) / stride
        image = landscape.fields(area, canvas, len(plans), shapes.numbers(plans, "hills", canvas))
        scroll = 2 * REACH / STANCE * phase
        for name, rows in shapes.groups(plans, "ground").items():
            grounds.lay(image, rows, name, canvas, scroll[rows])
        shapes.shadow(image, -0.05, grounds.FEET + 0.03, 0.85, 0.1, area, 0.5)
        coat, mane = shapes.palette(plans, "coat", COATS, canvas), shapes.palette(plans, "coat", MANES, canvas)
        bob = 0.03 * torch.cos(4 * torch.pi * (phase - 0.1))
        _legs(image, area, phase, bob, 0.8 * coat, 0.8 * mane, far=True)
        _body(image, area, phase, bob, coat, mane)
        _legs(image, area, phase, bob, coat, mane, far=False)
        return image

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        return acoustics.contacts(plans, [TIMBRES[plan.attributes["ground"]] for plan in plans], samples, device)


def _legs(image: Tensor, area: Grid, phase: Tensor, bob: Tensor, coat: Tensor, hoof: Tensor, far: bool) -> None:
    """The two legs of one side. Near front and far hind land on whole phases, the other pair half a stride later."""
    side = 0.05 if far else 0.0
    for hip, bend, later in ((HIP_HIND, -1.0, 0.0 if far else 0.5), (HIP_FRONT, 1.0, 0.5 if far else 0.0)):
        ahead, height = foot_path(phase - later, STANCE, REACH, LIFT)
        foot = (hip + side + ahead, grounds.FEET - 0.035 - side * 0.4 - height)
        top = (hip + side + 0 * bob, HIP_HEIGHT + bob)
        knee = joint(top, foot, UPPER, LOWER, bend)
        part = area.window(hip - 0.45, HIP_HEIGHT - 0.1, hip + 0.45, grounds.FEET + 0.05)
        leg = capsule(part, *top, *knee, 0.115 if bend < 0 else 0.095, 0.052)
        leg = torch.minimum(leg, capsule(part, *knee, *foot, 0.05, 0.036))
        shapes.paint(image, leg, coat, part)
        shapes.paint(image, capsule(part, foot[0] - 0.02, foot[1], foot[0] + 0.035, foot[1] + 0.005, 0.042), hoof, part)


def _body(image: Tensor, area: Grid, phase: Tensor, bob: Tensor, coat: Tensor, mane: Tensor) -> None:
    nod = 0.025 * torch.cos(4 * torch.pi * (phase - 0.2))
    swish = 0.07 * torch.sin(2 * torch.pi * phase)
    part = area.window(-1.0, -0.85, 0.95, 0.4)
    tail = capsule(part, -0.6, -0.14 + bob, -0.76 - swish, 0.06 + bob, 0.055, 0.085)
    tail = torch.minimum(tail, capsule(part, -0.76 - swish, 0.06 + bob, -0.8 - 1.6 * swish, 0.3 + bob, 0.085, 0.03))
    shapes.paint(image, tail, mane, part)
    trunk = smooth_union(
        capsule(part, HIP_HIND, -0.04 + bob, 0.24, -0.02 + bob, 0.2, 0.185),
        capsule(part, 0.3, -0.12 + bob, 0.58, -0.5 + nod, 0.15, 0.085),
        0.18,
    )
    head = capsule(part, 0.6, -0.54 + nod, 0.82, -0.34 + nod, 0.095, 0.06)
    ear = capsule(part, 0.55, -0.62 + nod, 0.57, -0.71 + nod, 0.035, 0.015)
    shade = 1.06 - 0.3 * shapes.smoothstep(-0.15, 0.2, part.y)
    shapes.paint(image, smooth_union(torch.minimum(trunk, ear), head, 0.05), _lit(coat, shade), part)
    crest = capsule(part, 0.53, -0.62 + nod, 0.22, -0.2 + bob, 0.045, 0.06)
    shapes.paint(image, crest, mane, part)
    shapes.paint(image, shapes.circle(part, 0.655, -0.545 + nod, 0.02), mix(mane, torch.zeros_like(mane), 0.85), part)


def _lit(colour: Tensor, shade: Tensor) -> Tensor:
    return (shapes.spread(colour) * shade).clamp(max=1)


FAMILY = Horse(
    name="horse",
    attributes={"coat": tuple(COATS), "ground": ("grass", "gravel", "cobbles")},
    withheld=frozenset({("white", "cobbles"), ("chestnut", "gravel")}),
    templates=(
        "[a|the|one] {coat} horse [trots|runs|is trotting|is running] [over|on|across] [|the ]{ground}",
        "[|a video of |a clip of ]a {coat} horse [trotting|running|moving] [on|over|across] {ground}",
        "[a|the] horse with a {coat} coat [runs|trots] [across|over] [|the ]{ground}",
        "[hoof beats|hooves|the beat of hooves] on {ground}: a {coat} horse [trots|runs|comes] by",
        "the {coat} horse goes at a trot [over|across] the {ground}",
        "a horse [trots|runs] along, its coat is {coat}, the ground is {ground}",
        "side view of a {coat} horse [running|trotting] over {ground}",
        "on [|the ]{ground}[,|] a {coat} horse [trots|runs] [to the right|along|by]",
        "we [hear|see] [the hooves|the legs|the steps] of a {coat} horse on [|the ]{ground}",
        "[|we hear ]the sound of a {coat} horse [on|running over|trotting on] {ground}",
        "{coat} horse[,| on] {ground}[|, trotting|, running]",
        "{ground} [below|beneath|under] the [legs|feet] of a {coat} horse",
        "a horse, [its coat|the coat] {coat}, [runs|trots] [over|on] [|the ]{ground}",
        "the horse is {coat} and [it runs|it trots|runs|trots] [over|on|across] {ground}",
        "what [runs|trots] [over|across] the {ground} is a {coat} horse",
        "[look at|here is] a {coat} horse [that trots|trotting|running] [over|on] {ground}",
        "a [field|path|way] of {ground}, and a {coat} horse [trots|runs] [across|along] it",
        "the {ground} [rings|echoes|answers] each time a hoof of the {coat} horse [hits|touches] it",
        "a [scene|picture] with a horse: [its|the] coat is {coat}, the ground is {ground}",
    ),
    brief=(
        "[a |the |]{coat} horse[| trots| running]",
        "a horse [on|over] {ground}",
        "a horse [trots|runs|is running][| over {ground}| across the {ground}]",
        "[hooves|hoof beats|the sound of hooves] on {ground}",
        "{coat} horse",
    ),
    held_out_templates=(
        "a trotting horse, {coat}, over {ground}",
        "the {ground} sounds under the hooves of a {coat} horse that runs",
    ),
)
