"""The warm start: the student learns to say in one pass what the teacher says in two.

Meng et al. 2022, "On distillation of guided diffusion models" (arXiv 2210.03142), the first of its two stages, with one
fixed guidance scale. It needs no rollout, so a step costs a sixth of an update of distribution matching, and the fake
score begins near the distribution that it has to describe.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from happyhorse.distillation.distill import Task, Tasks
from happyhorse.distillation.roles import Roles, conditional, with_guidance
from happyhorse.flow.guidance import GuidanceScale
from happyhorse.recipes.distill import DistillConfig
from happyhorse.training.fit import Work, fit
from happyhorse.training.losses import Example, flow_matching_loss, make_example
from happyhorse.training.noise import draw_noise, draw_times


def warm_up(roles: Roles, tasks: Tasks, config: DistillConfig, work: Work) -> None:
    """Trains the student in place and gives the fake score its weights. Raises Stopped, with a checkpoint written."""
    if config.warm is None:
        return

    def loss(generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        task = tasks.task(int(torch.randint(2**31, (), generator=generator)), 0)
        return guidance_loss(roles, task, config)

    fit("warm", roles.student, loss, config.warm, work)
    with torch.no_grad():
        for fake, student in zip(roles.fake.parameters(), roles.student.parameters(), strict=True):
            fake.copy_(student)


def guidance_loss(roles: Roles, task: Task, config: DistillConfig) -> tuple[Tensor, Mapping[str, float]]:
    """Squared distance of the student's velocity to the teacher's guided one on noised data, and it by stream."""
    example = noised(task, config)
    with torch.no_grad():
        guided = with_guidance(roles.real, task.text, task.null, task.like, GuidanceScale(*config.warm_guidance))
        target = guided(example.noisy)
    velocity = conditional(roles.student, task.text, task.like)(example.noisy)
    losses = flow_matching_loss(velocity, dataclasses.replace(example, target=target)).map(torch.mean)
    figures = {"video": losses.video.item(), "audio": losses.audio.item()}
    return losses.video + config.audio_weight * losses.audio, figures


def noised(task: Task, config: DistillConfig) -> Example:
    """Data at random levels; the parts that are given stay clean."""
    times = draw_times(task.size, config.warm_noise, task.generator).to(task.like.video.device)
    return make_example(task.like, draw_noise(task.like, task.noise), times, task.known)
