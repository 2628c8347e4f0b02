"""How fast a recipe trains on this machine, and how many steps fit into a given time."""

from __future__ import annotations

import time

import torch

from happyhorse.recipes.recipe import Stage, TrainConfig
from happyhorse.training.build import make_state
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.loop import draw_example, optimise
from happyhorse.types import ClipShape, Latents, Text

TEXT_ROWS = 32
OVERHEAD = 1.05
"""Reading, logging, checkpoints and samples on top of the steps themselves."""


def fit_to_minutes(config: TrainConfig, minutes: float, device: torch.device) -> TrainConfig:
    """The recipe with as many steps as fit into ``minutes`` on this machine, stages keeping their shares."""
    state = make_state(config, device)
    seconds = sum(stage.steps * stage_seconds(config, stage, state) for stage in config.stages) * OVERHEAD
    return config.with_steps(max(len(config.stages), int(config.steps * 60 * minutes / seconds)))


def stage_seconds(config: TrainConfig, stage: Stage, state: TrainState) -> float:
    """Mean seconds of a step of ``stage``; the state's weights are changed by the trial."""
    times = {shape: step_seconds(config, shape, stage.samples(shape), state) for shape in set(stage.shapes)}
    return sum(times[shape] for shape in stage.shapes) / len(stage.shapes)


def step_seconds(config: TrainConfig, shape: ClipShape, batch: int, state: TrainState, trials: int = 4) -> float:
    """Shortest of ``trials`` steps on random latents, after one that warms up (and compiles)."""
    device = next(state.model.parameters()).device
    clean = random_latents(config, shape, batch, device)
    text = random_text(config, batch, device)
    best = float("inf")
    for trial in range(trials + 1):
        _wait(device)
        started = time.perf_counter()
        optimise(state, draw_example(clean, config, trial), text, config)
        _wait(device)
        if trial:
            best = min(best, time.perf_counter() - started)
    return best


def random_latents(config: TrainConfig, shape: ClipShape, batch: int, device: torch.device) -> Latents:
    video = torch.randn(batch, config.model.video_channels, *shape.latent_size)
    return Latents(video, torch.randn(batch, shape.audio_latents, config.model.audio_channels)).to(device)


def random_text(config: TrainConfig, batch: int, device: torch.device) -> Text:
    lengths = torch.randint(TEXT_ROWS // 2, TEXT_ROWS, (batch,))
    if config.model.text == "tokens":
        return Text(torch.randint(config.model.text_vocab, (batch, TEXT_ROWS)), lengths).to(device)
    return Text(torch.randn(batch, TEXT_ROWS, config.model.text_channels), lengths).to(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
