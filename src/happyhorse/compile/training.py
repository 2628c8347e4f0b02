"""A training step, compiled from outside: the forward and the backward pass of a layer are one graph each.

Alike layers share their graphs, so compiling takes as long for forty of them as for one; what stands between two
layers, the shards of FSDP2 (``fully_shard`` on every layer, before this) among it, stays outside of the graphs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from happyhorse.compile.machine import allow_graphs
from happyhorse.compile.recompute import recompute_layers
from happyhorse.model.sequence import Layout
from happyhorse.model.transformer import TextRows, Transformer


def compile_for_training(
    model: Transformer, *, recompute: str = "none", dynamic: bool = True, backend: str = "inductor"
) -> None:
    """Compiles every layer, in place; parameters, their names and the state dict stay as they are.

    ``recompute`` is what the backward pass makes again (``compile.recompute``). With ``dynamic`` one graph serves all
    batches, clips and prompts, but for a few more where Inductor sums short axes otherwise than long ones; else each
    combination is compiled by itself. ``backend`` "aot_eager" takes the same graphs without generating code, which
    needs no compiler. Raises ConfigError for an unknown ``recompute``.
    """
    import torch.fx.experimental._config as shapes

    allow_graphs()
    # Sizes that are equal by chance, 32 words and heads of 32 channels, would be taken for one and the same.
    shapes.use_duck_shape = False
    recompute_layers(model.block.layers, recompute)
    for layer in model.block.layers:
        layer.forward = partial(_with_one_length, layer.forward)
        layer.compile(dynamic=dynamic, fullgraph=True, backend=backend)


def _with_one_length(forward: Callable[..., Any], hidden: Tensor, layout: Layout, text: TextRows | None = None) -> Any:
    """The layer, its last group being the rows that are left.

    If the length were the sum of the groups, products of such sums would become strides, which Inductor (torch 2.13)
    fails to compare in a layer with weights per modality.
    """
    *others, (modality, _) = layout.spans
    left = hidden.shape[1] - sum([rows for _, rows in others])
    return forward(hidden, dataclasses.replace(layout, spans=(*others, (modality, left))), text)
