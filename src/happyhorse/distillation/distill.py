"""Distribution matching distillation, two clocks: one update of the student, then several of the fake score.

Yin et al. 2024 (DMD2, arXiv 2405.14867). Both streams are rolled out, noised again and judged together, so that how
sound and picture belong together is part of what is matched; sizes are measured for each stream by itself. As in
training, everything random follows from the seed and the number of the update.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from happyhorse.codecs.codec import TextCoder
from happyhorse.data.batch import Source, seeded
from happyhorse.distillation import dmd
from happyhorse.distillation.roles import Role, Roles, conditional, with_guidance
from happyhorse.distillation.rollout import rollout
from happyhorse.flow.guidance import GuidanceScale
from happyhorse.recipes.distill import DistillConfig
from happyhorse.training.ema import Average
from happyhorse.training.masks import draw_known
from happyhorse.training.noise import draw_noise
from happyhorse.training.optimizer import Optimizers
from happyhorse.types import Known, Latents, Text


@dataclasses.dataclass
class DistillState:
    """A distillation at a moment; a checkpoint holds all of it but the teacher."""

    roles: Roles
    student: Optimizers
    fake: Optimizers
    average: Average
    """Of the student."""
    step: int = 0
    """Updates of the student so far."""
    seconds: float = 0.0

    @staticmethod
    def begin(roles: Roles, config: DistillConfig) -> DistillState:
        student, fake = Optimizers(roles.student, config.optimizer), Optimizers(roles.fake, config.fake_optimizer)
        return DistillState(roles, student, fake, Average(roles.student, config.ema_decay))

    def _parts(self) -> dict[str, Any]:
        return {
            "student": self.roles.student,
            "fake": self.roles.fake,
            "student optimizers": self.student,
            "fake optimizers": self.fake,
            "average": self.average,
        }

    def state_dict(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        return {"step": self.step, "seconds": self.seconds, **parts}

    def load_state_dict(self, values: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(values[name])
        self.step, self.seconds = values["step"], values["seconds"]


@dataclasses.dataclass(frozen=True)
class Task:
    """What one rollout begins with: prompts, the parts that are given, and the randomness of it all."""

    text: Text
    null: Text
    known: Known
    generator: torch.Generator
    """For small draws, on the CPU."""
    noise: torch.Generator
    """For noise, on the device of the latents."""

    @property
    def like(self) -> Latents:
        return self.known.latents

    @property
    def size(self) -> int:
        return len(self.like.video)


class Tasks:
    """Tasks as a pure function of the update and of the rollout's number in it."""

    def __init__(self, config: DistillConfig, source: Source, text: TextCoder, device: torch.device) -> None:
        self.config, self.source, self.text, self.device = config, source, text, device
        self.each = 1 + -(-config.fake_updates // config.fake_per_rollout)

    def task(self, step: int, number: int) -> Task:
        """Rollout ``number`` (0 is the student's) of an update. All of one update have the same shape."""
        config = self.config
        shape = seeded("shape", config.seed, step).choice(config.stage.shapes)
        batch = self.source.batch(step * self.each + number, shape, config.stage.samples(shape))
        seed = seeded("distill", config.seed, step, number).getrandbits(62)
        generator = torch.Generator().manual_seed(seed)
        known = draw_known(batch.latents, config.known, generator).to(self.device)
        count = len(batch.prompts)
        both = self.text.batch([*batch.prompts, *[""] * count]).padded(config.text_multiple).to(self.device)
        text, null = (Text(both.values[rows], both.lengths[rows]) for rows in (slice(count), slice(count, None)))
        return Task(text, null, known, generator, torch.Generator(self.device).manual_seed(seed + 1))


def update(state: DistillState, tasks: Tasks, config: DistillConfig) -> dict[str, float]:
    """One update of the student and ``fake_updates`` of the fake score; figures for the log."""
    progress = (state.step + 1) / config.stage.steps
    lowest = config.renoise.lowest_at(state.step / config.stage.steps)
    figures = dict(update_student(state, tasks.task(state.step, 0), config, lowest, progress))
    for number in range(config.fake_updates):
        if number % config.fake_per_rollout == 0:
            task = tasks.task(state.step, 1 + number // config.fake_per_rollout)
            with torch.no_grad():
                data = roll(state.roles.student, task, config)
        losses = update_fake(state, data, task, config, lowest, progress)  # pyright: ignore[reportPossiblyUnbound]
        figures |= {name: figures.get(name, 0.0) + loss / config.fake_updates for name, loss in losses.items()}
    state.average.update()
    state.step += 1
    return figures


def update_student(
    state: DistillState, task: Task, config: DistillConfig, lowest: float, progress: float
) -> Mapping[str, float]:
    """Moves the student's output along the difference of the scores; the mean size of that move by stream."""
    data = roll(state.roles.student, task, config)
    point = renoised(data.map(Tensor.detach), task, config, lowest)
    with torch.no_grad():
        real = with_guidance(state.roles.real, task.text, task.null, data, GuidanceScale(*config.guidance))
        velocities = real(point.noisy), conditional(state.roles.fake, task.text, data)(point.noisy)
    video, audio = (directions(velocities, point, stream, config.floor) for stream in ("video", "audio"))
    losses = Latents(dmd.matching_loss(data.video, video), dmd.matching_loss(data.audio, audio))
    (losses.video + config.audio_weight * losses.audio).mean().backward()
    norm = state.student.step(progress)
    return {"video g": video.abs().mean().item(), "audio g": audio.abs().mean().item(), "student norm": norm.item()}


def update_fake(
    state: DistillState, data: Latents, task: Task, config: DistillConfig, lowest: float, progress: float
) -> Mapping[str, float]:
    """One step of flow matching on the student's clips; its loss by stream."""
    point = renoised(data, task, config, lowest)
    velocity = conditional(state.roles.fake, task.text, data)(point.noisy)
    video = dmd.fake_loss(velocity.video, point.target.video, point.unknown.video).mean()
    audio = dmd.fake_loss(velocity.audio, point.target.audio, point.unknown.audio).mean()
    (video + config.audio_weight * audio).backward()
    state.fake.step(progress)
    return {"fake video": video.item(), "fake audio": audio.item()}


def roll(student: Role, task: Task, config: DistillConfig) -> Latents:
    """The student's clean output at a random step."""
    exit_step = int(torch.randint(config.steps, (1,), generator=task.generator))
    field, noise = conditional(student, task.text, task.like), draw_noise(task.like, task.noise)
    return rollout(field, noise, config.sigmas, exit_step, config.sampler, known=task.known, generator=task.noise)


def renoised(data: Latents, task: Task, config: DistillConfig, lowest: float) -> dmd.Renoised:
    """The student's output at a random level, the same for both streams."""
    law = config.renoise
    times = dmd.draw_times(task.size, law.shift, lowest, law.highest, task.generator).to(data.video.device)
    return dmd.renoise(data, draw_noise(data, task.noise), times, task.known)


def directions(velocities: tuple[Latents, Latents], point: dmd.Renoised, stream: str, floor: float) -> Tensor:
    real, fake, target, unknown = (getattr(part, stream) for part in (*velocities, point.target, point.unknown))
    return dmd.gradient(real, fake, target, unknown, floor)
