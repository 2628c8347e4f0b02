"""The attention of a model, made fast from outside: ``use_attention(model, "auto")``.

Every way computes the same function of ranges of queries and keys (``compile.ranges``), equal to the model's own
attention within its ``error``. What a way does not do (the causal pass over the prompt, sigmoid attention, crossed
streams, training) the model goes on doing itself.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from happyhorse.compile import kernels
from happyhorse.compile.machine import has_fast_bfloat16
from happyhorse.compile.products import attend_products, serves
from happyhorse.compile.ranges import Attend, Parts, all_keys, attend_parts, dense_mask, near_frames
from happyhorse.compile.timing import median_busy, take_turns
from happyhorse.errors import ConfigError
from happyhorse.model.attention import attend
from happyhorse.model.sequence import Layout
from happyhorse.model.transformer import Attention, Transformer

AttendParts = Callable[[Parts, Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Attention over parts: q [B, N, Hq, D], k and v [B, keys, Hkv, D], mask [B, 1, 1, keys], as [B, N, Hq, D]."""


# ----------------------------------------------------------------------------------------------------------- the ways
@dataclasses.dataclass(frozen=True)
class Way:
    """A way to compute attention."""

    attend: AttendParts
    """Does it."""
    error: float
    """Relative error against float64 over all values, in the number format that it computes in: float32, or bfloat16
    for ways that only know this."""
    why: str
    """When it is the one to take, and what was measured."""


def _each(attend: Attend) -> AttendParts:
    return functools.partial(attend_parts, attend)


def _dense(parts: Parts, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    if len(parts) > 1:
        windows = dense_mask(parts, q.device)
        mask = windows if mask is None else mask & windows
    return kernels.attend_fused(q, k, v, mask)


def _products_bfloat16(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    return attend_products(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)


WAYS = {
    "dense": Way(_dense, 1e-6, "every pair of rows, windows as a mask: what the other ways are measured against"),
    "range": Way(_each(kernels.attend_fused), 1e-6, "torch's kernel once for each range of frames: as the model does"),
    "products": Way(_each(attend_products), 2e-6, "CPU, one thread: two matrix products without a row maximum"),
    "products-bf16": Way(_each(_products_bfloat16), 1e-2, "CPU with bfloat16 products: the same in bfloat16"),
    "flex": Way(kernels.attend_flex, 1e-6, "GPU, windows: one kernel that skips blocks; on a CPU slower than dense"),
    "cudnn": Way(_each(functools.partial(kernels.attend_preferring, "cudnn")), 1e-6, "from Hopper on: cuDNN's kernel"),
    "flash": Way(_each(functools.partial(kernels.attend_preferring, "flash")), 1e-6, "GPU: FlashAttention 2"),
    "fa3": Way(_each(kernels.attend_fa3), 1e-2, "Hopper with the package kernels: FlashAttention 3"),
}


def choose(device: torch.device, dtype: torch.dtype) -> str:
    """The fastest way that gives the reference's numbers, for products in ``dtype``.

    CPU: products with one thread, in float32 where torch has oneDNN and in bfloat16 where the processor multiplies it;
    with more, torch's kernel, as products hardly gain by them. GPU: from Hopper on cuDNN, before it what torch chooses.
    """
    if device.type == "cpu":
        return "products" if torch.get_num_threads() == 1 and serves(dtype) else "range"
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (9, 0):
        return "cudnn"
    return "range"


# ------------------------------------------------------------------------------------------------------- into a model
class FastAttention(Attention):
    """Stands in for an Attention, all of whose parts it shares, and mixes values in another way."""

    def __init__(self, plain: Attention, way: str) -> None:
        torch.nn.Module.__init__(self)
        self.__dict__.update(plain.__dict__)
        self.way = way

    def mix(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        if self.kind != "softmax" or self.crossed or not _plain_inference(q, layout):
            return super().mix(q, k, v, layout)
        q, k, v = (x.to(self.linear_qkv.dtype) for x in (q, k, v))
        return WAYS[self.way].attend(self.parts(q.shape[1], k.shape[1], layout), q, k, v, layout.key_mask)

    def parts(self, rows: int, keys: int, layout: Layout) -> Parts:
        """Which rows see which."""
        if self.radius is None or layout.frames == 0:
            return all_keys(rows, keys)
        return near_frames(rows, keys, layout.frames, layout.video_rows, self.radius)

    def extra_repr(self) -> str:
        return f"way={self.way}"


def _plain_inference(q: Tensor, layout: Layout) -> bool:
    """Whether no gradient is wanted, and a row sees a key or not whichever row it is."""
    needs_gradient = torch.is_grad_enabled() and q.requires_grad
    per_row = layout.key_mask is not None and layout.key_mask.shape[-2] > 1
    return not (needs_gradient or layout.causal or per_row)


def use_attention(model: Transformer, kind: str) -> None:
    """Lets every layer of ``model`` attend in the way ``kind`` of WAYS, or in the one chosen for its device if "auto".

    In place, and again at will. Raises ConfigError for an unknown way, MissingToolError for one that this machine lacks
    the means for.
    """
    if kind != "auto" and kind not in WAYS:
        raise ConfigError(f"attention {kind!r} is unknown; it must be one of auto, {', '.join(WAYS)}")
    if kind == "fa3":
        kernels.flash_attention_3()
    for layer in model.block.layers:
        attention = layer.attention
        assert isinstance(attention, Attention)
        device = next(attention.parameters()).device
        way = choose(device, attention.linear_qkv.dtype) if kind == "auto" else kind
        layer.attention = FastAttention(attention, way)


# -------------------------------------------------------------------------------------------------------- measurement
@dataclasses.dataclass(frozen=True)
class Candidate:
    """What one way took."""

    way: str
    """Its name in WAYS."""
    seconds: float
    """Median of the rounds (``compile.timing``)."""
    error: float
    """Relative error against the float32 result, over some rows."""


def candidates(device: torch.device) -> tuple[str, ...]:
    """Ways that are worth trying on a device. FlexAttention on a CPU is not: it is compiled for every size first."""
    if device.type == "cpu":
        return ("dense", "range", "products", *(("products-bf16",) if has_fast_bfloat16(device) else ()))
    return ("dense", "range", "flex", "cudnn", "flash")


ROWS_COMPARED = 256
"""Rows whose error is told: all of them would take longer than the measurement."""


@torch.no_grad()
def measure(
    parts: Parts,
    heads: tuple[int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    rounds: int = 5,
    ways: Sequence[str] | None = None,
) -> list[Candidate]:
    """Times ``ways``, or all that are worth trying, on random rows of ``heads`` (query heads, kv heads, width); fastest
    first."""
    rows, keys = max(part.queries[1] for part in parts), max(keys[1] for part in parts for keys in part.keys)
    generator = torch.Generator(device).manual_seed(0)
    shapes = ((rows, heads[0]), (keys, heads[1]), (keys, heads[1]))
    given = [torch.randn(1, *shape, heads[2], generator=generator, device=device).to(dtype) for shape in shapes]
    some = torch.linspace(0, rows - 1, min(rows, ROWS_COMPARED), dtype=torch.long).unique()
    exact = rows_of(parts, some, *given)
    runs = {way: functools.partial(WAYS[way].attend, parts, *given, None) for way in ways or candidates(device)}
    errors = {
        way: float((run()[:, some.to(device)].float() - exact).norm() / exact.norm()) for way, run in runs.items()
    }
    spent = take_turns(runs, rounds, device)
    found = [Candidate(way, median_busy(spent[way]), errors[way]) for way in runs]
    return sorted(found, key=lambda one: one.seconds)


def rows_of(parts: Parts, some: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The rows ``some`` (rising) of the attention, in float32, as the model does it: [B, rows, query heads, D]."""
    mixed = []
    for part in parts:
        own = some[(some >= part.queries[0]) & (some < part.queries[1])].to(q.device)
        near_k, near_v = (torch.cat([x[:, slice(*keys)] for keys in part.keys], dim=1).float() for x in (k, v))
        mixed += [attend(q[:, own].float(), near_k, near_v, "softmax")] if len(own) else []
    return torch.cat(mixed, dim=1)
