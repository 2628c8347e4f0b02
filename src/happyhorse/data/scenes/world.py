"""All families together: plans from a seed, frames and sound of any mixture of plans, and prompts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from happyhorse.data.scenes import ball, horse, talker, walker, weather
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE, Canvas, Family, Plan
from happyhorse.errors import ConfigError

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {family.name: family for family in (ball.FAMILY, horse.FAMILY, walker.FAMILY, weather.FAMILY, talker.FAMILY)}
)

DRILLS: Mapping[str, Family] = MappingProxyType({"loose talker": talker.LOOSE})
"""Variants of families that training alone asks for; their plans are plans of the family."""

SHARES: Mapping[str, float] = MappingProxyType(
    {"ball": 0.36, "talker": 0.16, "horse": 0.12, "walker": 0.16, "weather": 0.2}
)
"""Share of each family in training: a ball in flight is the fastest thing there is and its impacts are few; talkers,
who have a hundred sentences to learn in two voices, have small pictures of their own (``recipes/foal.py``)."""

SPLITS = ("train", "held_out")


def sample_plan(seed: int, seconds: float, split: str = "train", family: str | None = None) -> Plan:
    """The scene of a seed: the same seed, seconds, split and family give the same plan.

    ``family`` is one of FAMILIES or DRILLS. ``split`` "held_out" draws among the combinations and sentences that are
    never trained on. ConfigError for an unknown family or split.
    """
    if split not in SPLITS:
        raise ConfigError(f"no split {split}; there are {', '.join(SPLITS)}")
    if family is not None and family not in {**FAMILIES, **DRILLS}:
        raise ConfigError(f"no family {family}; there are {', '.join(FAMILIES)}")
    rng = random.Random(f"{seed}-{split}")
    drawn = rng.choices(list(SHARES), list(SHARES.values()))[0]
    chosen = DRILLS.get(family or drawn) or FAMILIES[family or drawn]
    return chosen.plan(seed, seconds, chosen.choose(rng, split == "held_out", seconds))


def render(plans: Sequence[Plan], canvas: Canvas) -> tuple[Tensor, Tensor]:
    """Frames [B, 3, F, h, w] in [0, 1] and waveform [B, F * 1000] at 24 kHz; the plans may be of several families."""
    assert plans, "nothing to render"
    samples = canvas.frames * SAMPLE_RATE // FPS
    frames = torch.empty(len(plans), 3, canvas.frames, canvas.height, canvas.width, device=canvas.device)
    waves = torch.empty(len(plans), samples, device=canvas.device)
    for name, family in FAMILIES.items():
        rows = [row for row, plan in enumerate(plans) if plan.family == name]
        if rows:
            own = [plans[row] for row in rows]
            frames[rows] = family.draw(own, canvas)
            waves[rows] = family.sound(own, samples, canvas.device)
    return frames, waves


def prompt(plan: Plan, rng: random.Random, split: str = "train") -> str:
    """One of the paraphrases that name everything in the scene; "held_out" takes those that are never trained on."""
    family = FAMILIES[plan.family]
    return family.held_out_prompt(plan.attributes, rng) if split == "held_out" else family.prompt(plan.attributes, rng)
