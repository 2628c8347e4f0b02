"""A run's model, optimisers and average at step 0."""

from __future__ import annotations

import torch

from happyhorse.compile.machine import can_compile, has_fast_bfloat16
from happyhorse.compile.recompute import recompute_layers
from happyhorse.compile.training import compile_for_training
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.ema import Average
from happyhorse.training.optimizer import Optimizers

LANGUAGE_HEAD = ("final_norm_text.weight",)
"""What a model with a language head has and one without has not: either may start from the other's weights."""


def make_state(config: TrainConfig, device: torch.device, dtype: torch.dtype | None = None) -> TrainState:
    """The starting state; its weights follow from the seed.

    Blocks multiply in ``dtype``: bfloat16 where the machine is fast with it, unless given. Weights are float32.
    """
    torch.manual_seed(config.seed)
    dtype = dtype or (torch.bfloat16 if has_fast_bfloat16(device) else torch.float32)
    model = Transformer(config.model.replace(matmul_dtype=str(dtype).removeprefix("torch."))).to(device)
    if config.compile and can_compile(device):
        compile_for_training(model, recompute=config.recompute)
    else:
        recompute_layers(model.block.layers, config.recompute)
    optimizers = Optimizers(model, config.optimizer, dtype)
    average = Average(model, config.ema_decay)
    return TrainState(model, optimizers, average, timed=config.model.timestep == "embedded")
