"""Rain on a street, in a forest or over a lake, and the sea under three skies: picture and sound without single events.

Rain and ripples repeat after a whole number of latent frames, and the surf is loudest when the near wave is highest.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, rain, sea, shapes
from happyhorse.data.scenes.catalogue import Catalogue
from happyhorse.data.scenes.scene import Canvas, Plan


@dataclasses.dataclass(frozen=True)
class Weather(Catalogue):
    """The weather family."""

    @property
    def wordings(self) -> tuple[str, ...]:
        return (*super().wordings, *_PHRASES.values())

    def combinations(self) -> list[tuple[str, ...]]:
        rains = [(kind, place) for kind in rain.KINDS for place in rain.PLACES]
        return rains + [(kind, sky) for kind in sea.KINDS for sky in sea.SKIES]

    def fitting(self, templates: tuple[str, ...], attributes: Mapping[str, str]) -> tuple[str, ...]:
        word = "rain" if attributes["kind"] in rain.KINDS else "sea"
        return tuple(template.replace(f"{{kind}} {word}", "{kind}") for template in templates if word in template)

    def prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return super().prompt({**attributes, "scene": _PHRASES[attributes["scene"]]}, rng)

    def brief_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return super().brief_prompt({**attributes, "scene": _PHRASES[attributes["scene"]]}, rng)

    def held_out_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return super().held_out_prompt({**attributes, "scene": _PHRASES[attributes["scene"]]}, rng)

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan:
        rng = random.Random(f"{self.name}-{seed}")
        kind = attributes["kind"]
        motion = {"phase": rng.uniform(0, 1)}
        if kind in sea.KINDS:
            motion["period"] = sea.KINDS[kind].period * rng.uniform(0.9, 1.1)
        return self.scene(seed, seconds, attributes, motion)

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        image = torch.empty(len(plans), 3, canvas.frames, canvas.height, canvas.width, device=canvas.device)
        for kind, rows in shapes.groups(plans, "kind").items():
            room = rain if kind in rain.KINDS else sea
            image[rows] = room.draw([plans[row] for row in rows], kind, canvas)
        return image

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        wave = torch.empty(len(plans), samples, device=device)
        for kind, rows in shapes.groups(plans, "kind").items():
            room = rain if kind in rain.KINDS else sea
            wave[rows] = room.sound([plans[row] for row in rows], kind, samples, device)
        return acoustics.limit(wave + acoustics.SILENCE * acoustics.hiss(plans, samples, device))


_PHRASES = {
    "street": "a street",
    "forest": "a forest",
    "lake": "a lake",
    "sunset": "a sunset sky",
    "grey": "a grey sky",
    "night": "a night sky",
}

FAMILY = Weather(
    name="weather",
    attributes={"kind": (*rain.KINDS, *sea.KINDS), "scene": (*rain.PLACES, *sea.SKIES)},
    withheld=frozenset({("heavy rain", "forest"), ("calm sea", "night")}),
    templates=(
        "{kind} rain [falls|is falling|pours] [on|over] {scene}",
        "[|a video of |a clip of ]{kind} rain [over|on|in] {scene}",
        "{scene} in [|the ]{kind} rain",
        "it is raining [on|over] {scene}: {kind} rain",
        "we [hear|see] {kind} rain [over|on] {scene}",
        "the sound of {kind} rain [falling on|over|on] {scene}",
        "[a view of|look at|here is] {scene} in {kind} rain",
        "{scene}[,|:] {kind} rain",
        "the rain [over|on] {scene} is [|a ]{kind} rain",
        "{scene} [under|below|beneath] {kind} rain",
        "{kind} rain, and [below|beneath|under] it {scene}",
        "{scene} with [|the sound of |drops of ]{kind} rain",
        "a [scene|picture] of {scene}, the weather is {kind} rain",
        "[|a video of |a clip of ]a {kind} sea [under|below|beneath] {scene}",
        "a {kind} sea with waves [under|below] {scene}",
        "[|the ]waves of a {kind} sea [under|below|beneath] {scene}",
        "{scene} over a {kind} sea",
        "we [hear|see] a {kind} sea under {scene}",
        "the waves roll, a {kind} sea, {scene}",
        "[a view of|look at|here is] a {kind} sea and {scene}",
        "the sound of a {kind} sea [under|below] {scene}",
        "a {kind} sea[,|:] {scene}",
        "the sea is a {kind} sea, [with|under] {scene}",
        "{scene} and [|the sound of |the waves of ]a {kind} sea",
        "a [scene|picture] of {scene}, the water is a {kind} sea",
        "<{kind} rain/{scene}>[|, a video]",
        "[we see |this is |]{scene}. [|we hear |the sound is ]{kind} rain",
        "[it is|there is|we hear] {kind} rain[,| and] [in|on|over] {scene}",
        "{kind} rain [is heard|drums|rustles] [on|in|over] {scene}",
        "{kind} rain, [and |]{scene} [is wet|gets wet|shines]",
        "[the place|what we see] is {scene}[,| and] the [weather|rain|sound] is {kind} rain",
        "<a {kind} sea/{scene}>[|, a video]",
        "[we see |this is |]{scene}. [|we hear |the sound is ]a {kind} sea",
        "[it is|here is|we hear] a {kind} sea[,| and] [|over it ]{scene}",
        "a {kind} sea [is heard|sounds|rolls] [under|below|beneath] {scene}",
        "a {kind} sea, [and |]{scene} [above|over it|shines]",
        "[the light|what we see] is {scene}[,| and] the [water|sea|sound] is a {kind} sea",
    ),
    brief=(
        "[|the sound of |we hear |a video of ]{kind} rain",
        "[it is|there is] {kind} rain",
        "{scene} [in the rain|and rain|when it rains]",
        "rain [on|over|in] {scene}",
        "[|the sound of |we hear |a video of ]a {kind} sea",
        "[it is|here is] a {kind} sea",
        "{scene} [over the sea|and the sea|above the sea]",
        "the sea [under|below|beneath] {scene}",
    ),
    held_out_templates=(
        "{scene}, and {kind} rain comes down",
        "there is {kind} rain, we look at {scene}",
        "{scene} above the waves of a {kind} sea",
        "there is a {kind} sea, we look at {scene}",
    ),
)
