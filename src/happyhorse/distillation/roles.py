"""The roles of DMD-2: the student, the real score (the teacher) and the fake score (of the student's own clips)."""

from __future__ import annotations

import copy
import dataclasses

from happyhorse.compile.recompute import recompute_layers
from happyhorse.flow.guidance import GuidanceScale, Velocity, guided
from happyhorse.model.transformer import Transformer
from happyhorse.training.lora import Stacked, add_stacks, same_stack
from happyhorse.types import Latents, Text

Role = Transformer | Stacked
"""A model of its own, or a stack on a backbone."""


@dataclasses.dataclass(frozen=True)
class Roles:
    """Three models that answer as the base model does; ``real`` is never trained."""

    student: Role
    real: Role
    fake: Role


def three_networks(teacher: Transformer) -> Roles:
    """Three networks that all begin as the teacher."""
    teacher.requires_grad_(False).eval()
    student, fake = (copy.deepcopy(teacher).requires_grad_(True) for _ in range(2))
    return Roles(student, teacher, fake)


def one_backbone(teacher: Transformer, rank: int, recompute: str = "none") -> Roles:
    """The teacher alone, and two stacks of low rank beside it: what a model needs of which only one fits in memory."""
    layers = add_stacks(teacher.eval(), rank, ("student", "fake"))
    recompute_layers(teacher.block.layers, recompute, same_stack(layers))
    student, real, fake = (Stacked(teacher, layers, name) for name in ("student", None, "fake"))
    return Roles(student, real, fake)


def plain(role: Role) -> Transformer:
    """A role as a model by itself."""
    return role.merged() if isinstance(role, Stacked) else role


def conditional(model: Role, text: Text, like: Latents) -> Velocity:
    """The velocity for a batch of prompts; the prompt is read once for all calls."""
    memory = model.encode_text(text) if model.config.text == "tokens" else text
    layout = model.layout(like, memory)
    return lambda latents: model(latents, memory, layout)


def with_guidance(model: Role, text: Text, null: Text, like: Latents, scale: GuidanceScale) -> Velocity:
    """The guided velocity of the real score."""
    return guided(conditional(model, text, like), conditional(model, null, like), scale)
