"""The training loop: ``happyhorse train foal``.

Flow matching on both streams at once. Everything random follows from the seed and the number of the step, so a run
that is stopped and resumed is the run that was never stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from happyhorse.codecs.codec import TextCoder
from happyhorse.data.batch import Batch, Source, seeded
from happyhorse.errors import ConfigError
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training import checkpoint
from happyhorse.training.captions import caption_loss
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.losses import Example, flow_matching_loss, make_example
from happyhorse.training.masks import draw_known, sound_after
from happyhorse.training.meters import Meters, append_record
from happyhorse.training.noise import draw_noise, draw_times
from happyhorse.training.stop import DONE, Stop
from happyhorse.types import ClipShape, Latents, Text


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run needs besides its state."""

    config: TrainConfig
    source: Source
    text: TextCoder
    folder: Path
    """Where checkpoints, the log and samples are written."""
    device: torch.device
    stop: Stop
    report: Callable[[str], None] = print
    """Told a line of progress now and then."""
    make_samples: Callable[[TrainState], None] | None = None
    """Writes clips for people to look at."""


def train_loop(job: Job, state: TrainState) -> str:
    """Trains until the last step, an interruption or the end of the time; returns which of them.

    The state is on disk when this returns. Raises ConfigError if the loss stops being a number.
    """
    config, meters = job.config, Meters(job.device)
    clock = time.monotonic() - state.seconds
    with prefetched(job, state.step) as batches:
        while True:
            # ------------------------------------------------------------------------------------- once in a while
            state.seconds = time.monotonic() - clock
            ending = DONE if state.step == config.steps else job.stop.reason()
            fresh = meters.steps > 0
            if fresh and (ending or due(state.step, config.log_every)):
                log(job, state, meters)
            if fresh and (ending or due(state.step, config.checkpoint_every)):
                checkpoint.save(job.folder, state, config.fingerprint)
            if fresh and job.make_samples and (ending == DONE or due(state.step, config.samples.every)):
                job.make_samples(state)
            if ending:
                return ending

            # -------------------------------------------------------------------------------------------- one step
            batch, text = next(batches)
            example = draw_example(batch.latents, config, state.step)
            words = caption_loss(state.model, batch, job.text, config, state.step)
            meters.add(example, *optimise(state, example, text, config, words))
            state.step += 1


def due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


# ------------------------------------------------------------------------------------------------------ parts of a step
def draw_example(clean: Latents, config: TrainConfig, step: int) -> Example:
    """The noisy sample of a batch at a step, on the device of the batch."""
    device = clean.video.device
    seed = seeded("noise", config.seed, step).getrandbits(63)
    generator = torch.Generator().manual_seed(seed)
    times = draw_times(len(clean.video), config.noise, generator).to(device)
    known = draw_known(clean, config.known, generator).to(device)
    noise = draw_noise(clean, torch.Generator(device).manual_seed(seed + 1))
    known = sound_after(known, noise) if config.noise.sound_after else known
    return make_example(clean, noise, times, known)


def optimise(
    state: TrainState, example: Example, text: Text, config: TrainConfig, words: Tensor | None = None
) -> tuple[Latents, Tensor, Tensor, Tensor | None]:
    """One update of the weights and their average; the losses [B] by modality, the loss, the gradient's norm and the
    loss of captions, ``words``, if they are learned in this step."""
    losses = flow_matching_loss(predict(state, example, text), example)
    loss = (losses.video + config.audio_weight * losses.audio).mean()
    (loss if words is None else loss + config.captions.weight * words).backward()
    norm = state.optimizers.step((state.step + 1) / config.steps)
    state.average.update()
    return losses, loss.detach(), norm, None if words is None else words.detach()


def predict(state: TrainState, example: Example, text: Text) -> Latents:
    """The model's velocity; the noise levels are given to a model that asks for them."""
    if not state.timed:
        return state.model(example.noisy, text)
    # A sample's level is the one of its unknown part: what is given clean says so itself.
    return state.model(example.noisy, text, times=torch.stack([example.times.video, example.times.audio], dim=1))


def shape_at(config: TrainConfig, step: int) -> tuple[ClipShape, int]:
    """Shape and batch size of a step."""
    stage = config.stage_at(step)
    shape = seeded("shape", config.seed, step).choice(stage.shapes)
    return shape, stage.samples(shape)


@contextmanager
def prefetched(job: Job, start: int) -> Iterator[Iterator[tuple[Batch, Text]]]:
    """Batches from step ``start`` on, each made in a second thread while the step before it runs."""
    config = job.config

    def make(step: int) -> tuple[Batch, Text]:
        batch = job.source.batch(step, *shape_at(config, step))
        text = job.text.batch(batch.prompts).padded(config.text_multiple)
        return dataclasses.replace(batch, latents=batch.latents.to(job.device)), text.to(job.device)

    def batches(pool: ThreadPoolExecutor) -> Iterator[tuple[Batch, Text]]:
        coming = pool.submit(make, start)
        for step in range(start + 1, config.steps + 1):
            batch = coming.result()
            if step < config.steps:
                coming = pool.submit(make, step)
            yield batch

    with ThreadPoolExecutor(1) as pool:
        yield batches(pool)


# ------------------------------------------------------------------------------------------------------------- progress
def log(job: Job, state: TrainState, meters: Meters) -> None:
    """A record in log.jsonl and a line for people."""
    figures = meters.read()
    append_record(job.folder / "log.jsonl", {"step": state.step, "seconds": round(state.seconds, 1), **figures})
    if figures["loss"] != figures["loss"]:
        raise ConfigError(
            f"the loss is not a number at step {state.step}; lower the learning rate and resume from {job.folder}"
        )
    left = time_left(job.config, state.step, figures["tokens_per_second"])
    job.report(
        f"step {state.step}/{job.config.steps}  loss {figures['loss']:.4f}  video {figures['video']:.4f}  "
        f"audio {figures['audio']:.4f}  {figures['samples_per_second']:.1f} samples/s  {clock_words(left)} left"
    )


def time_left(config: TrainConfig, step: int, tokens_per_second: float) -> float:
    """Seconds to the end, from the tokens of the steps that remain."""
    tokens, start = 0.0, 0
    for stage in config.stages:
        remaining = stage.steps - min(max(step - start, 0), stage.steps)
        mean = sum(stage.samples(shape) * shape.tokens for shape in stage.shapes) / len(stage.shapes)
        tokens += remaining * mean
        start += stage.steps
    return tokens / max(tokens_per_second, 1e-9)


def clock_words(seconds: float) -> str:
    """ "3 h 05 min", "12 min" or "40 s"."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if seconds >= 90 else f"{seconds:.0f} s"
