"""A run's model, optimisers and average at step 0."""

from __future__ import annotations

import os

import torch

from happyhorse.model.transformer import Transformer
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.ema import Average
from happyhorse.training.optimizer import Optimizers


def prepare_machine(device: torch.device) -> None:
    """All cores for the matrix products, and the GPU's fast ones where float32 is asked for."""
    if device.type == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
    else:
        torch.set_float32_matmul_precision("high")


def make_state(config: TrainConfig, device: torch.device) -> TrainState:
    """The starting state; its weights follow from the seed. On a GPU the blocks multiply in bfloat16."""
    torch.manual_seed(config.seed)
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    model = Transformer(config.model.replace(matmul_dtype=dtype)).to(device)
    if config.compile:
        compile_blocks(model)
    optimizers = Optimizers(model, config.optimizer)
    average = Average(model, config.ema_decay)
    return TrainState(model, optimizers, average, timed=config.model.timestep == "embedded")


def compile_blocks(model: Transformer) -> None:
    """Compiles each layer on its own: alike layers share their code, so it takes a minute and not ten."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64  # kinds of layers x shapes x text lengths
    for layer in model.block.layers:
        layer.compile(dynamic=False)
