"""Block matrices in eight bits, put into a Transformer from outside: half the memory, or faster products as well.

A row w of a weight becomes numbers n of one byte and a scale s, so that w is about s n:

    s = max |w| / L        n = w / s, rounded to the nearest number of the kind

The largest number L is 127 for "int8" (evenly spaced) and 448 for "fp8" (float8_e4m3fn: four bits of exponent and three
of fraction; arXiv 2209.05433). The products y = x W^T are then made in one of two ways:

    weights only    y = s (x n^T), x and n in the model's matmul_dtype (which holds n exactly), s applied in float32
    dynamic         each row of x becomes numbers m and a scale t too, and y = t s (m n^T): sums of int8 products are
                    exact int32, those of fp8 float32. Rows and scales as in LLM.int8() (arXiv 2208.07339)

Weights only spares memory. Dynamic spares time too on devices that multiply bytes, and costs a little more precision.

Shapes: B batch, N rows, M = rows of all spans that one product serves. Kernels read rows and columns in whole groups,
so weights are kept with zeros up to the next multiple: [copies, ROWS multiple, COLUMNS multiple].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.sequence import Spans, by_modality
from happyhorse.model.transformer import ALL, BlockLinear, Transformer

ROWS = 32
"""A weight has a multiple of this many rows, so that every second one of them is a multiple of 16 (fp8 kernels)."""
COLUMNS = 16
"""A weight has a multiple of this many columns."""
SMALLEST = 1e-12
"""Rows that reach no further are zero to us; keeps scales away from zero and from subnormal numbers."""
_AT_ONCE = 4096
"""Weight rows that are float32 at one time."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """Numbers of one byte."""

    dtype: torch.dtype
    largest: float


KINDS = {"int8": Kind(torch.int8, 127.0), "fp8": Kind(torch.float8_e4m3fn, 448.0)}


# ----------------------------------------------------------------------------------------------------------- the maths
def narrow(values: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Values [..., n] as numbers [..., n] of ``kind`` and scales [...] float32, one for each row."""
    values = values.float()
    scales = values.abs().amax(dim=-1).clamp_min(SMALLEST) / kind.largest
    scaled = values / scales[..., None]
    return (scaled.round() if kind.dtype == torch.int8 else scaled).to(kind.dtype), scales


def widen(numbers: Tensor, scales: Tensor) -> Tensor:
    """Inverse of ``narrow``, float32, up to its rounding."""
    return numbers.float() * scales[..., None]


def packed(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """A weight [copies, outputs, inputs] as numbers [copies, rows, columns] and scales [copies, rows], zeros behind.

    Only a few thousand rows are float32 at a time.
    """
    copies, outputs, inputs = weight.shape
    rows, columns = _multiple(outputs, ROWS), _multiple(inputs, COLUMNS)
    numbers = torch.zeros(copies, rows, columns, dtype=kind.dtype, device=weight.device)
    scales = torch.zeros(copies, rows, dtype=torch.float32, device=weight.device)
    for copy in range(copies):
        for start in range(0, outputs, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, outputs))
            numbers[copy, part, :inputs], scales[copy, part] = narrow(weight[copy, part], kind)
    return numbers, scales


def product(numbers: Tensor, weight: Tensor) -> Tensor:
    """``numbers weight^T`` [M, K] x [N, K] -> [M, N] float32, of int8 or fp8; M at least 32, all multiples of 16."""
    if numbers.dtype == torch.int8:
        return torch._int_mm(numbers, weight.t()).float()
    if multiplies_fp8(numbers.device):
        one = torch.ones((), device=numbers.device)
        return torch._scaled_mm(numbers, weight.t(), one, one, out_dtype=torch.float32, use_fast_accum=True)
    return F.linear(numbers.float(), weight.float())


def multiplies_fp8(device: torch.device) -> bool:
    """Whether there are fp8 products: on NVIDIA GPUs from Ada and Hopper on. Elsewhere float32 gives their numbers."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 9)


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of


# ---------------------------------------------------------------------------------------------------------- the module
class QuantisedLinear(nn.Module):
    """Stands in for a BlockLinear: same arguments, float32 out. ``packed`` makes its ``weight`` and ``scale``."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: BlockLinear, kind: Kind, dynamic: bool = False) -> None:
        super().__init__()
        self.inputs, self.outputs, self.copies, self.dtype = linear.inputs, linear.outputs, linear.copies, linear.dtype
        self.kind, self.dynamic = kind, dynamic
        stacked = linear.weight.detach().view(self.copies, self.outputs, self.inputs)
        numbers, scales = packed(stacked, kind)
        self.register_buffer("weight", numbers)
        self.register_buffer("scale", scales)

    def forward(self, x: Tensor, spans: Spans, outputs: slice = ALL) -> Tensor:
        """x [B, N, inputs] to [B, N, outputs]: products with all rows of the weight, or with those of ``outputs``."""
        assert outputs.stop is None, "zeros stand behind the last row, so a slice may not end before it"
        multiply = self._dynamic if self.dynamic else self._weights_only
        if self.copies == 1:
            return multiply(x, 0, outputs)
        return by_modality(x, spans, lambda rows, modality: multiply(rows, modality, outputs))

    def _weights_only(self, x: Tensor, copy: int, outputs: slice) -> Tensor:
        numbers = self.weight[copy, : self.outputs, : self.inputs][outputs].to(self.dtype)
        return F.linear(x.to(self.dtype), numbers).float() * self._scale(copy, outputs)

    def _dynamic(self, x: Tensor, copy: int, outputs: slice) -> Tensor:
        flat = x.flatten(0, -2).float()
        below, right = max(_multiple(len(flat), 16), 32) - len(flat), -self.inputs % COLUMNS
        # Padded before and not after it is made narrow: few devices pad tensors of bytes.
        numbers, scales = narrow(F.pad(flat, (0, right, 0, below)) if below or right else flat, self.kind)
        scale = self._scale(copy, outputs)
        sums = product(numbers, self.weight[copy][outputs])[: len(flat), : len(scale)]
        return (sums * scales[: len(flat), None] * scale).unflatten(0, x.shape[:-1])

    def _scale(self, copy: int, outputs: slice) -> Tensor:
        return self.scale[copy, : self.outputs][outputs]

    def extra_repr(self) -> str:
        way = "dynamic" if self.dynamic else "weights only"
        return f"{self.inputs} to {self.outputs}, copies={self.copies}, {self.kind.dtype}, {way}"


# ----------------------------------------------------------------------------------------------------- into a model
def outer_layers(config: ModelConfig) -> tuple[int, ...]:
    """The first and last layers, whose weights belong to one modality each: they read and write the latents, and their
    activations bear rounding worst."""
    return tuple(index for index in range(config.layers) if config.is_specific(index))


def quantise(
    model: Transformer, kind: str, dynamic: bool = False, skip: Collection[int] | None = None
) -> list[QuantisedLinear]:
    """Replaces the block matrices of ``model`` by ones of ``kind`` "int8" or "fp8", one after the other.

    The layers ``skip`` stay as they are: none, or the outer ones if ``dynamic``. Adapters, norms and heads are never
    touched. Weights that are there are quantised where they lie; of a model on the meta device, the shapes are. Raises
    ConfigError for an unknown kind or layer, and for a model that holds quantised matrices.
    """
    if kind not in KINDS:
        raise ConfigError(f"number format {kind!r} is unknown; it must be one of {', '.join(KINDS)}")
    if any(isinstance(module, QuantisedLinear) for module in model.modules()):
        raise ConfigError("this model is quantised already; quantise one with its full weights")
    made = []
    for index in _chosen(model, skip, outer_layers(model.config) if dynamic else ()):
        for parent, name in _block_linears(model.block.layers[index]):
            made.append(QuantisedLinear(getattr(parent, name), KINDS[kind], dynamic))
            setattr(parent, name, made[-1])
    return made


def use_dynamic(model: Transformer, skip: Collection[int] | None = None) -> None:
    """Lets the quantised layers of ``model`` quantise their activations, but for the layers ``skip`` (the outer ones).

    For models that hold all their matrices in eight bits, as converted files do: the layers skipped go on with their
    weights only. Raises ConfigError for an unknown layer, and if nothing in the model is quantised.
    """
    if not any(isinstance(module, QuantisedLinear) for module in model.modules()):
        raise ConfigError("this model holds no quantised matrices; quantise it first")
    chosen = _chosen(model, skip, outer_layers(model.config))
    for index, layer in enumerate(model.block.layers):
        for module in layer.modules():
            if isinstance(module, QuantisedLinear):
                module.dynamic = index in chosen


def _block_linears(layer: nn.Module) -> list[tuple[nn.Module, str]]:
    """The modules that hold them, and under which names: a list of the matrices would keep them all in memory."""
    parents = ((parent, *child) for parent in layer.modules() for child in parent.named_children())
    return [(parent, name) for parent, name, child in parents if isinstance(child, BlockLinear)]


def _chosen(model: Transformer, skip: Collection[int] | None, default: tuple[int, ...]) -> list[int]:
    """Indices of all layers but ``skip``."""
    skip = default if skip is None else skip
    strangers = sorted(index for index in skip if not 0 <= index < model.config.layers)
    if strangers:
        raise ConfigError(f"layers {strangers} do not exist; the model has layers 0 to {model.config.layers - 1}")
    return [index for index in range(model.config.layers) if index not in skip]
