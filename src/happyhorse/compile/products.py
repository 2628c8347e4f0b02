"""Attention as two matrix products, a block at a time: for CPUs, where the fused kernel runs at a third of their peak.

    w = 2^(log2(e) q k^T / sqrt(D))        [sums, total] = w [v, 1]        out = sums / total

Normed queries and keys bound the scores (``model.attention.softmax_products``), so exp needs no row maximum, and with
that goes all that a fused kernel does between its products: partial sums over ranges of keys simply add up. Queries of
the heads that share keys are one tall matrix. A key that may not be seen has a zero row in [v, 1]: a mask costs
nothing. Scores are cut off at +-CUT, as in ``softmax_products``.

All this is for one thread: the products of a block are too small for two, while the fused kernel gives each a head.

The base is 2, for torch takes 2^x in its own vector code and e^x in MKL's, which is four times slower on processors
other than Intel's. Blocks are small enough for the scores to stay in a core's cache between the two products, and hold
keys in whole registers. The loop over them is one operator to torch.compile and torch.export, which would have to
unroll it for one number of rows.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.compile.machine import has_fast_bfloat16

CUT = 60.0
"""Largest score; exp of it, summed over any number of keys, is far from overflowing."""
LOG2_E = math.log2(math.e)
QUERIES, KEYS = 512, 1024
"""A block of scores: at most 2 MB in float32."""
WHOLE = 32
"""Keys are filled up to a multiple of this: products of odd sizes run at half the speed."""


def attend_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention of q [B, N, Hq, D] over k and v [B, keys, Hkv, D], in their dtype, as [B, N, Hq, D].

    ``mask`` [B, 1, 1, keys] is True where a key may be seen. For inference: it has no backward pass. Off by 1e-6 from
    softmax in float32, and by 1e-2 in bfloat16 (relative, over all values), while scores lie within +-CUT.
    """
    return _operator(q, k, v, mask) if torch.compiler.is_compiling() else _products(q, k, v, mask)


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    batch, rows, heads, width = q.shape
    groups = heads // k.shape[2]
    tall = (q * (LOG2_E * width**-0.5)).unflatten(2, (-1, groups)).permute(0, 2, 3, 1, 4)
    tall = tall.reshape(-1, groups * rows, width)
    missing = -k.shape[1] % WHOLE
    # Where nothing is missing, padding copies nothing, and oneDNN takes what is strided a thousand times slower.
    keys = F.pad(k.transpose(1, 2), (0, 0, 0, missing)).flatten(0, 1).contiguous()
    values = F.pad(_with_ones(v, mask).permute(0, 2, 3, 1), (0, missing)).flatten(0, 1).contiguous()
    mixed = torch.empty_like(tall)
    for one in zip(tall, keys, values, mixed, strict=True):
        _one_head(*one)
    return mixed.view(batch, -1, groups, rows, width).permute(0, 3, 1, 2, 4).reshape(q.shape).contiguous()


def _with_ones(v: Tensor, mask: Tensor | None) -> Tensor:
    """[v, 1] of every key [B, keys, Hkv, D + 1], zeros where it may not be seen."""
    made = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    return made if mask is None else made * mask.flatten(1)[..., None, None]


def _one_head(tall: Tensor, keys: Tensor, values: Tensor, out: Tensor) -> None:
    """Fills ``out`` [M, D] for queries [M, D], keys [K, D] and values [D + 1, K]; M is of all heads that share them."""
    chunks = list(zip(keys.split(KEYS), (part.contiguous() for part in values.split(KEYS, 1)), strict=True))
    for rows, block in zip(tall.split(QUERIES), out.split(QUERIES), strict=True):
        sums: Tensor | None = None
        for near, value in chunks:
            part = times(times(rows, near, cut=CUT * LOG2_E).exp2_(), value)
            sums = part if sums is None else sums.add_(part)
        assert sums is not None
        torch.div(sums[:, :-1], sums[:, -1:], out=block)


def times(a: Tensor, b: Tensor, cut: float | None = None) -> Tensor:
    """``a b^T`` of a [M, K] and b [N, K], both contiguous, limited to +-``cut``.

    In float32 by oneDNN where there is one: torch gives float32 to MKL, which knows only the narrow registers of
    processors other than Intel's (half the speed). Both are full float32.
    """
    if a.device.type == "cpu" and serves(a.dtype):
        limit = ("none", []) if cut is None else ("hardtanh", [-cut, cut])
        return torch.ops.mkldnn._linear_pointwise(a, b, None, *limit, "")
    product = F.linear(a, b)
    return product if cut is None else product.clamp_(-cut, cut)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``times`` with a weight, outside of graphs and within them.

    torch's compiler turns oneDNN's operator into code for weights that never change, and fails on all others, so in a
    graph it is hidden in an operator of ours.
    """
    if torch.compiler.is_compiling():
        return _linear_operator(x, weight) if x.dtype == torch.float32 else F.linear(x, weight)
    return times(x, weight)


@functools.cache
def serves(dtype: torch.dtype) -> bool:
    """Whether this torch holds oneDNN, with products in ``dtype`` that are fast on this processor."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and has_fast_bfloat16(torch.device("cpu")))


@torch.library.custom_op("happyhorse::attend_products", mutates_args=())
def _operator(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return _products(q, k, v, mask)


@_operator.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return torch.empty_like(q, memory_format=torch.contiguous_format)


@torch.library.custom_op("happyhorse::linear", mutates_args=())
def _linear_operator(x: Tensor, weight: Tensor) -> Tensor:
    return times(x, weight)


@_linear_operator.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])
