"""A figure seen from the side that walks over gravel, snow or a wooden floor; a footstep at each heel strike."""

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
from happyhorse.data.scenes.shapes import Grid, capsule, rgb

STANCE = 0.58
REACH = 0.75 * STANCE * grounds.TILE
"""Half of the way that a foot stands for: two strides are then three tiles long."""
LIFT = 0.09
UPPER, LOWER = 0.28, 0.29
HIP, SHOULDER = 0.02, -0.36

CLOTHES = {"red": "#d0342c", "blue": "#2c5fc4", "green": "#2f9348", "yellow": "#f2c830"}

TIMBRES = {
    "gravel": Timbre(((90, 0.025, 0.3),), ((1000, 7000, 0.10, 0.8),), (7, 0.07), length=0.28),
    "snow": Timbre((), ((250, 1500, 0.09, 0.8), (1800, 3200, 0.06, 0.25)), length=0.3),
    "wood": Timbre(((128, 0.05, 1.0), (262, 0.04, 0.7), (510, 0.022, 0.5)), ((1500, 5000, 0.004, 0.5),), length=0.22),
}

_BACKGROUNDS = {"gravel": landscape.park, "snow": landscape.winter, "wood": landscape.room}


@dataclasses.dataclass(frozen=True)
class Walker(Catalogue):
    """The walker family."""

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan:
        rng = random.Random(f"{self.name}-{seed}")
        step = rng.uniform(0.45, 0.65)
        first = rng.uniform(0.12, step)
        times = beats(first, step, seconds)
        motion = {
            "first": first,
            "step": step,
            "hills": rng.uniform(0, 1),
            "times": times,
            "strengths": tuple(0.8 if index % 2 == 0 else 0.65 for index in range(len(times))),
        }
        return self.scene(seed, seconds, attributes, motion)

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        area = shapes.grid(canvas)
        phase = (shapes.frame_times(canvas) - shapes.numbers(plans, "first", canvas)) / (
            2 * shapes.numbers(plans, "step", canvas)
        )
        image = torch.empty(len(plans), 3, canvas.frames, canvas.height, canvas.width, device=canvas.device)
        hills, scroll = shapes.numbers(plans, "hills", canvas), 2 * REACH / STANCE * phase
        for name, rows in shapes.groups(plans, "ground").items():
            image[rows] = _BACKGROUNDS[name](area, canvas, len(rows), hills[rows])
            grounds.lay(image, rows, name, canvas, scroll[rows])
        shapes.shadow(image, 0.0, grounds.FEET + 0.02, 0.5, 0.09, area, 0.5)
        _figure(image, area, phase, shapes.palette(plans, "clothes", CLOTHES, canvas))
        return image

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        return acoustics.contacts(plans, [TIMBRES[plan.attributes["ground"]] for plan in plans], samples, device)


def _figure(image: Tensor, area: Grid, phase: Tensor, clothes: Tensor) -> None:
    """Near leg lands on whole phases, far leg half a stride later; arms swing against their legs."""
    trousers, skin = rgb("#3b4058", image.device), rgb("#e3ac86", image.device)
    bob = 0.022 * torch.cos(4 * torch.pi * (phase - 0.05))
    _arm(image, area, phase - 0.5, bob, 0.72 * clothes, 0.8 * skin)
    _leg(image, area, phase - 0.5, bob, 0.7 * trousers)
    _leg(image, area, phase, bob, trousers)
    part = area.window(-0.3, -0.9, 0.35, 0.2)
    torso = capsule(part, 0.0, HIP - 0.02 + bob, 0.03, SHOULDER + 0.02 + bob, 0.15, 0.155)
    shade = 1.05 - 0.22 * shapes.smoothstep(-0.12, 0.16, -part.x)
    shapes.paint(image, capsule(part, 0.04, SHOULDER + bob, 0.055, SHOULDER - 0.2 + bob, 0.06), 0.92 * skin, part)
    shapes.paint(image, torso, (shapes.spread(clothes) * shade).clamp(max=1), part)
    hair = shapes.circle(part, 0.04, -0.67 + bob, 0.155)
    shapes.paint(image, hair, rgb("#4a3020", image.device), part)
    face = shapes.ellipse(part, 0.085, -0.63 + bob, 0.115, 0.13)
    nose = shapes.circle(part, 0.2, -0.615 + bob, 0.022)
    shapes.paint(image, torch.minimum(face, nose), skin, part)
    shapes.paint(image, shapes.circle(part, 0.14, -0.66 + bob, 0.018), rgb("#2a2020", image.device), part)
    _arm(image, area, phase, bob, 0.9 * clothes, skin)


def _leg(image: Tensor, area: Grid, phase: Tensor, bob: Tensor, colour: Tensor) -> None:
    ahead, height = foot_path(phase, STANCE, REACH, LIFT)
    tilt = 0.35 * torch.cos(2 * torch.pi * phase) * (ahead.abs() / REACH)
    heel = (ahead - 0.03, grounds.FEET - 0.05 - height)
    top = (0.0 * bob, HIP + bob)
    ankle = (heel[0], heel[1] - 0.03)
    knee = joint(top, ankle, UPPER, LOWER, 1.0)
    part = area.window(-0.45, HIP - 0.15, 0.5, grounds.FEET + 0.05)
    leg = torch.minimum(capsule(part, *top, *knee, 0.11, 0.08), capsule(part, *knee, *ankle, 0.078, 0.055))
    shapes.paint(image, leg, colour, part)
    toe = (heel[0] + 0.125, heel[1] + 0.01 - 0.1 * tilt.clamp(min=0))
    shapes.paint(image, capsule(part, *heel, *toe, 0.05, 0.038), rgb("#2b2320", image.device), part)


def _arm(image: Tensor, area: Grid, phase: Tensor, bob: Tensor, sleeve: Tensor, skin: Tensor) -> None:
    swing = -0.55 * torch.cos(2 * torch.pi * phase)
    shoulder = (0.03 + 0 * bob, SHOULDER + 0.04 + bob)
    elbow = (shoulder[0] + 0.21 * torch.sin(swing), shoulder[1] + 0.21 * torch.cos(swing))
    bent = swing + 0.35
    hand = (elbow[0] + 0.19 * torch.sin(bent), elbow[1] + 0.19 * torch.cos(bent))
    part = area.window(-0.45, SHOULDER - 0.1, 0.5, 0.25)
    shapes.paint(image, shapes.circle(part, *hand, 0.058), skin, part)
    wrist = (elbow[0] + 0.13 * torch.sin(bent), elbow[1] + 0.13 * torch.cos(bent))
    arm = torch.minimum(capsule(part, *shoulder, *elbow, 0.075, 0.062), capsule(part, *elbow, *wrist, 0.062, 0.055))
    shapes.paint(image, arm, sleeve, part)


FAMILY = Walker(
    name="walker",
    attributes={"clothes": tuple(CLOTHES), "ground": ("gravel", "snow", "wood")},
    withheld=frozenset({("red", "snow"), ("green", "wood")}),
    templates=(
        "[a|the|one] person in {clothes} [walks|is walking|steps] [on|over|across] [|the ]{ground}",
        "[|a video of |a clip of ]a person in {clothes} walking [over|on|across] {ground}",
        "[somebody|someone] dressed in {clothes} walks [across|over|on] {ground}",
        "[footsteps|steps] on {ground}: a [person|man|walker] in {clothes} clothes [walks|comes] by",
        "a [walker|person|man] in a {clothes} [jacket|coat|shirt] [steps|walks] over [|the ]{ground}",
        "a figure with a {clothes} [coat|jacket|shirt] is walking on {ground}",
        "side view of a person in {clothes} walking [across|over] {ground}",
        "on [|the ]{ground}[,|] a person wearing {clothes} walks [to the right|along|by]",
        "a person walks on {ground}, the clothes are {clothes}",
        "we [hear|see] the [steps|feet|footsteps] of [a person|somebody|someone] in {clothes} on [|the ]{ground}",
        "[|we hear ]the sound of [a person|somebody|a walker] in {clothes} [walking on|on|crossing] {ground}",
        "[person|walker] in {clothes}[,| on] {ground}[|, walking]",
        "{ground} [below|beneath] the feet of [a person|somebody|a walker] in {clothes}",
        "[a person|somebody|someone] walks, [all in|in|wearing] {clothes}, [over|on] [|the ]{ground}",
        "the [person|walker] is [in|dressed in|wearing] {clothes} and [walks|steps] [over|on|across] {ground}",
        "[somebody|someone|who] walks [over|across] the {ground}? a person in {clothes}",
        "[look at|here is] [a person|somebody] in {clothes} [who walks|walking] [over|on] {ground}",
        "a [field|path|way] of {ground}, and [a person|somebody] in {clothes} [walks|steps] [across|along] it",
        "the {ground} [rings|echoes|answers] each time a foot of the [person|walker] in {clothes} [hits|touches] it",
        "a [scene|picture] with a walker: [the|their] clothes are {clothes}, the ground is {ground}",
    ),
    brief=(
        "[a person|somebody|someone] in {clothes}[| walks| walking]",
        "[a person|somebody|a walker] on {ground}",
        "[a person|somebody|someone] [walks|is walking][| on {ground}| over the {ground}]",
        "[steps|footsteps|the sound of steps] on {ground}",
        "[person|walker], {clothes} clothes",
    ),
    held_out_templates=(
        "a walking person, dressed in {clothes}, on {ground}",
        "the {ground} sounds under the steps of somebody in {clothes}",
    ),
)
