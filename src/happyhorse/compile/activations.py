"""What layers keep for the backward pass and how much they compute, found by dry runs: tensors without numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from happyhorse.compile.recompute import MODES, Cost, recomputed
from happyhorse.config import ModelConfig
from happyhorse.memory.trace import LiveBytes
from happyhorse.model.positions import frequencies
from happyhorse.model.sequence import joint_layout, media_layout
from happyhorse.model.transformer import Layer, TextRows
from happyhorse.types import ClipShape, Latents, Text


def activation_costs(config: ModelConfig, shape: ClipShape, batch: int, text_rows: int) -> list[dict[str, Cost]]:
    """What every layer costs in a training step, by mode of recomputation (see ``recompute.plan``).

    A prompt's own pass, a twentieth of a model with text = "tokens", is not counted.
    """
    latents = Latents(
        torch.empty(1, config.video_channels, *shape.latent_size),
        torch.empty(1, shape.audio_latents, config.audio_channels),
    )
    bands, text = frequencies(config.bands), Text(torch.empty(1, text_rows, 1), torch.tensor([text_rows]))
    tokens = config.text == "tokens"
    layout = (media_layout if tokens else joint_layout)(config, bands, latents, text)
    with FakeTensorMode(allow_non_fake_inputs=True):
        hidden = torch.empty(batch, layout.cos.shape[1], config.hidden, requires_grad=True)
        seen: TextRows | None = None
        if tokens:
            key, value = (torch.empty(batch, text_rows, config.kv_heads, config.head_dim) for _ in range(2))
            seen = (key.requires_grad_(), value.requires_grad_())
        inputs, found = (hidden, layout, seen), dict[tuple[bool, ...], dict[str, Cost]]()
        for index in range(config.layers):
            if (kind := _kind(config, index)) not in found:
                layer = Layer(config, index)
                found[kind] = {mode: layer_cost(layer, mode, inputs) for mode in MODES}
    return [found[_kind(config, index)] for index in range(config.layers)]


def _kind(config: ModelConfig, index: int) -> tuple[bool, ...]:
    """Layers of one kind cost the same."""
    return config.is_specific(index), index in config.gelu7_layers, index in config.local_layers


def layer_cost(layer: nn.Module, mode: str, inputs: Sequence[Any]) -> Cost:
    """What a call of ``layer`` and its backward pass cost; the layer's first input counts among what it keeps."""
    hidden: Tensor = inputs[0]
    with LiveBytes() as alive, FlopCounterMode(display=False) as counter:
        alive.ignore(*layer.parameters())
        result = recomputed(layer.forward, mode, None, *inputs)[0]
        kept = alive.live - result.untyped_storage().nbytes() + hidden.untyped_storage().nbytes()
        result.sum().backward()
    return Cost(kept, counter.get_total_flops())
