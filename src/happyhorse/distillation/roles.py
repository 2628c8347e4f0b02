"""The roles of DMD-2: the student, the real score (the teacher) and the fake score (of the student's own clips)."""

from __future__ import annotations

import copy
import dataclasses

from torch import nn

from happyhorse.flow.guidance import GuidanceScale, Velocity, guided
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text


@dataclasses.dataclass(frozen=True)
class Roles:
    """Three models that answer as the base model does; ``real`` is never trained."""

    student: nn.Module
    real: nn.Module
    fake: nn.Module


def three_networks(teacher: Transformer) -> Roles:
    """Three networks that all begin as the teacher: twice its memory for weights that learn."""
    teacher.requires_grad_(False).eval()
    student, fake = (copy.deepcopy(teacher).requires_grad_(True) for _ in range(2))
    return Roles(student, teacher, fake)


def conditional(model: nn.Module, text: Text, like: Latents) -> Velocity:
    """The velocity for a batch of prompts; the prompt is read once for all calls."""
    assert isinstance(model, Transformer)
    memory = model.encode_text(text) if model.config.text == "tokens" else text
    layout = model.layout(like, memory)
    return lambda latents: model(latents, memory, layout)


def with_guidance(model: nn.Module, text: Text, null: Text, like: Latents, scale: GuidanceScale) -> Velocity:
    """The guided velocity of the real score."""
    return guided(conditional(model, text, like), conditional(model, null, like), scale)
