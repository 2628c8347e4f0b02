"""A small training loop for parts that have one loss: the codecs' and the recognisers'.

Like the generator's loop, everything random follows from the seed and the number of the step, so that a run that is
stopped and resumed is the run that was never stopped.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from happyhorse.data.batch import seeded
from happyhorse.recipes.codec import Fit
from happyhorse.training import checkpoint
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.ema import Average
from happyhorse.training.loop import clock_words
from happyhorse.training.optimizer import Optimizers
from happyhorse.training.stop import Stop

Loss = Callable[[torch.Generator], tuple[Tensor, Mapping[str, float]]]
"""The loss of a step, whose randomness all comes from the generator, and figures to log."""

EMA_DECAY = 0.998


@dataclasses.dataclass(frozen=True)
class Work:
    """Where a run lives and whom it talks to."""

    folder: Path
    """Each part keeps its checkpoints in a folder of its own in here."""
    seed: int
    stop: Stop
    report: Callable[[str], None]


def fit(name: str, module: nn.Module, loss: Loss, config: Fit, work: Work) -> None:
    """Trains ``module`` in place, from its last checkpoint if there is one, and leaves it with its averaged weights.

    Raises Stopped, with a checkpoint written, after Ctrl-C or when the time is up.
    """
    state = TrainState(module, Optimizers(module, config.optimizer), Average(module, EMA_DECAY))
    folder = work.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = f"{name} {config.steps} {config.learning_rate} {work.seed}"
    checkpoint.restore(folder, state, fingerprint)
    totals: dict[str, float] = {}
    clock, first = time.monotonic(), state.step
    while state.step < config.steps:
        # ------------------------------------------------------------------------------------------------- one step
        generator = torch.Generator().manual_seed(seeded(name, work.seed, state.step).getrandbits(63))
        value, figures = loss(generator)
        value.backward()
        state.optimizers.step((state.step + 1) / config.steps)
        state.average.update()
        state.step += 1
        for key, figure in figures.items():
            totals[key] = totals.get(key, 0.0) + figure
        # ------------------------------------------------------------------------------------------ once in a while
        if state.step % config.log_every == 0:
            words = "  ".join(f"{key} {total / config.log_every:.3f}" for key, total in totals.items())
            left = (time.monotonic() - clock) / (state.step - first) * (config.steps - state.step)
            work.report(f"{name}: step {state.step}/{config.steps}  {words}  {clock_words(left)} left")
            totals.clear()
        if work.stop.reason() or state.step % config.checkpoint_every == 0 or state.step == config.steps:
            checkpoint.save(folder, state, fingerprint)
            work.stop.check()
    state.average.assign()
