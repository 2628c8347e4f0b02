"""What the stages of a published model need: bytes of weights from the module itself, working memory from a dry run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from happyhorse.config import ModelConfig
from happyhorse.memory.plan import Stage
from happyhorse.memory.rows import chunk_rows
from happyhorse.memory.stream import tensor_bytes
from happyhorse.memory.trace import working_bytes
from happyhorse.model.positions import frequencies
from happyhorse.model.sequence import joint_layout
from happyhorse.model.transformer import Transformer
from happyhorse.types import ClipShape, Latents, Text

ROWS = 4096
"""Rows that a layer works on at a time: enough to keep a GPU busy, and few beside the 65,700 of a 1080p clip."""


def transformer_stage(
    name: str,
    config: ModelConfig,
    shape: ClipShape,
    text_rows: int,
    *,
    change: Callable[[Transformer], object] | None = None,
    rows: int = ROWS,
    batch: int = 1,
    passes: int = 1,
) -> Stage:
    """``passes`` of the Transformer over a clip and its prompt.

    ``change`` is what is done to the model before it runs, for example keeping its weights in eight bits.
    """
    with torch.device("meta"):
        model = Transformer(config)
    if change:
        change(model)
    layers = tuple(tensor_bytes(layer) for layer in model.block.layers)
    working = transformer_working(config, shape, text_rows, change=change, rows=rows, batch=batch)
    return Stage(name, layers, tensor_bytes(model) - sum(layers), working, passes)


def transformer_working(
    config: ModelConfig,
    shape: ClipShape,
    text_rows: int,
    *,
    change: Callable[[Transformer], object] | None = None,
    rows: int = ROWS,
    batch: int = 1,
) -> int:
    """Bytes of everything but weights at the peak of a pass; layers follow each other, so one of each kind will do."""
    local = (1,) if config.local_layers else ()
    short = config.replace(specific_first=1, shared=1, specific_last=1, gelu7_layers=(0,), local_layers=local)
    lengths = torch.full((batch,), text_rows)
    # Whether a prompt is padded is asked of true numbers: the layout is made outside of the dry run.
    layout = joint_layout(
        short, frequencies(short.bands), _latents(shape, short, 1), Text(torch.empty(batch, text_rows, 1), lengths)
    )

    def build() -> Transformer:
        model = Transformer(short)
        if change:
            change(model)
        chunk_rows(model.block.layers, rows)
        return model

    def work(model: Transformer) -> Latents:
        text = Text(torch.empty(batch, text_rows, short.text_channels), lengths)
        return model(_latents(shape, short, batch), text, layout)

    return working_bytes(work, build)


def _latents(shape: ClipShape, config: ModelConfig, batch: int) -> Latents:
    video = torch.empty(batch, config.video_channels, *shape.latent_size)
    return Latents(video, torch.empty(batch, shape.audio_latents, config.audio_channels))


def built_stage(
    name: str, build: Callable[[], nn.Module], work: Callable[[Any], object], dtype: torch.dtype = torch.float32
) -> Stage:
    """Any other module with its weights in ``dtype``, and what it takes to do its ``work``, found by a dry run."""
    with default_dtype(dtype), torch.device("meta"):
        whole = build()

    def built() -> nn.Module:
        with default_dtype(dtype):
            return build()

    return module_stage(name, whole, working_bytes(work, built))


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Modules that are built inside of the block have their weights in ``dtype``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def module_stage(name: str, module: nn.Module, working: int, layers: nn.ModuleList | None = None) -> Stage:
    """A module, which may be on the meta device; ``layers`` are the ones that could be streamed."""
    sizes = tuple(tensor_bytes(layer) for layer in layers or ())
    return Stage(name, sizes, tensor_bytes(module) - sum(sizes), working)
