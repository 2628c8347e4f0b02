"""The block matrices of a model, in a number format or a layout that its device multiplies faster.

"as-is"     what the model holds
"onednn"    float32 on a CPU, the same numbers by another library: torch hands float32 products to MKL, which runs at
            half speed on processors other than Intel's, and everything else to oneDNN
"bf16"      cast once instead of at every step; products, and with them the attention, in bfloat16
"int8"      rows of weights and activations in eight bits (``model.quantised``), all but the outer layers
"fp8"       the same in float8_e4m3fn: for GPUs from Ada on; on other devices it gives its numbers, not its speed
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.compile.products import linear as multiply
from happyhorse.compile.products import serves
from happyhorse.errors import ConfigError
from happyhorse.model.quantised import quantise
from happyhorse.model.sequence import Spans, by_modality
from happyhorse.model.transformer import ALL, MLP, BlockLinear, Transformer

WHOLE = 64
"""Rows of activations start at whole lines of memory, as NVIDIA's fastest kernels want them; the 15.3 B model's MLP is
13,652 wide, which is no multiple of 8 values."""
KINDS = ("as-is", "onednn", "bf16", "int8", "fp8")
"""From the model's own numbers to the coarsest."""


class PreparedLinear(nn.Module):
    """Stands in for a BlockLinear: same arguments, float32 out. Weights lie as the products want them.

    Of a gated MLP's first matrix, which is read by every second row, the even and the odd rows are one matrix each:
    oneDNN takes strided float32 weights a thousand times slower. Zeros fill it up to ``rows`` rows (of each half) and
    ``columns`` columns, if these are given.
    """

    weights: Tensor

    def __init__(
        self, linear: BlockLinear, dtype: torch.dtype, halves: bool = False, rows: int = 0, columns: int = 0
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.copies, self.dtype = linear.inputs, linear.outputs, linear.copies, dtype
        stacked = linear.weight.detach().view(self.copies, self.outputs, self.inputs)
        parts = [stacked[:, half::2] for half in range(2)] if halves else [stacked]
        missing = (0, max(columns - self.inputs, 0), 0, max(rows - parts[0].shape[1], 0))
        # Another name than the weight's: rows in another order must not pass for it in a file.
        self.register_buffer("weights", torch.stack([F.pad(part.to(dtype), missing) for part in parts]))

    def forward(self, x: Tensor, spans: Spans, outputs: slice = ALL) -> Tensor:
        """x [B, N, columns] to [B, N, rows]: products with all rows of the weight, or with the even or odd ones."""
        assert (outputs.step == 2) == (len(self.weights) == 2), "prepared for the other way of reading the weight"
        weights, x = self.weights[outputs.start or 0], x.to(self.dtype).contiguous()
        if self.copies == 1:
            return multiply(x, weights[0]).float()
        return by_modality(x, spans, lambda rows, modality: multiply(rows.contiguous(), weights[modality])).float()

    def extra_repr(self) -> str:
        return f"{self.inputs} to {self.outputs}, copies={self.copies}, {self.dtype}"


# ------------------------------------------------------------------------------------------------------- into a model
def use_linears(model: Transformer, kind: str, skip: Collection[int] | None = None) -> None:
    """Makes the block matrices of ``model`` those of ``kind``, in place; heads, adapters and norms stay float32.

    ``skip`` are layers that keep the model's own numbers: the outer ones of "int8" and "fp8" unless given, else none.
    For inference. Raises ConfigError for an unknown kind or layer, and for a model whose matrices were changed before.
    """
    if kind not in KINDS:
        raise ConfigError(f"linear {kind!r} is unknown; it must be one of {', '.join(KINDS)}")
    if kind == "as-is":
        return
    if kind in ("int8", "fp8"):
        if any(isinstance(module, PreparedLinear) for module in model.modules()):
            raise ConfigError(f"linear {kind!r} needs a model with its full weights; this one's are changed")
        quantise(model, kind, dynamic=True, skip=skip)
        if choose(model) == "onednn":
            use_linears(model, "onednn")
        return
    if not any(isinstance(module, BlockLinear) for module in model.modules()):
        raise ConfigError(f'linear {kind!r} needs a model with its full weights; this one\'s are changed: take "as-is"')
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    for index, layer in enumerate(model.block.layers):
        if index not in (skip or ()):
            _prepare(layer, dtype)


def _prepare(layer: nn.Module, dtype: torch.dtype) -> None:
    for parent in list(layer.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BlockLinear):
                setattr(parent, name, PreparedLinear(child, dtype, **_between(parent, name)))


def _between(parent: nn.Module, name: str) -> dict[str, Any]:
    """How an MLP's two matrices are laid out: what lies between them is a whole number of WHOLE wide. What is filled up
    is zero after the activation, and meets zeros in the second matrix."""
    if not isinstance(parent, MLP):
        return {}
    width = -(-parent.down_proj.inputs // WHOLE) * WHOLE
    return {"halves": parent.gated, "rows": width} if name == "up_gate_proj" else {"columns": width}


def choose(model: Transformer) -> str:
    """The fastest kind that leaves the model's numbers as they are, up to the order of sums: "onednn" or "as-is".

    By what torch holds and not by the clock, so that one machine always chooses the same: where MKL is as fast, nothing
    is lost.
    """
    left = [module.weight for module in model.modules() if isinstance(module, BlockLinear)]
    on_cpu = all(weight.device.type == "cpu" for weight in left)
    plain = model.config.matmul_dtype == "float32" and on_cpu and serves(torch.float32)
    return "onednn" if left and plain else "as-is"
