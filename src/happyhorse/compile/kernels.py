"""Fused attention kernels, each called the same way: torch's own by name, FlexAttention, and FlashAttention 3.

Shapes: q [B, N, Hq, D], k and v [B, keys, Hkv, D], mask [B, 1, 1, keys] True where a key may be seen, result
[B, N, Hq, D].
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from happyhorse.compile.ranges import Part, Parts
from happyhorse.errors import MissingToolError

FA3_KERNEL = "kernels-community/flash-attn3"
"""Prebuilt FlashAttention 3 (arXiv 2407.08608) on the hub of kernels."""
_PREFERRED = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
_OTHERS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def attend_fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """torch's kernel of its own choice, which repeats no keys for grouped queries where it can do without."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if q.is_cuda and (mask is not None or q.dtype == torch.float32) and q.shape[1] != k.shape[1]:
        # What takes masks or float32 on a GPU takes no groups, and torch would fall back on keeping all scores.
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=q.shape[1] != k.shape[1]).transpose(1, 2)


def attend_preferring(name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Kernel "cudnn" or "flash" where it can (flash takes no mask, neither takes float32), else what torch falls back
    on."""
    wanted = _PREFERRED[name]
    with sdpa_kernel([wanted, *(other for other in _OTHERS if other != wanted)], set_priority=True):
        return attend_fused(q, k, v, mask)


# ------------------------------------------------------------------------------------------------------ FlexAttention
def attend_flex(parts: Parts, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """All parts in one kernel that skips what nobody sees (arXiv 2412.05496); in a graph, sizes are constants."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    flex = flex_attention if torch.compiler.is_compiling() else _compiled_flex()
    seen = block_mask(parts, q.device) if mask is None else None
    if mask is not None:
        rule, real = _rule(parts, q.device), mask.flatten(1)
        padded = lambda b, h, row, key: rule(b, h, row, key) & real[b, key]  # noqa: E731
        seen = create_block_mask(padded, q.shape[0], None, q.shape[1], k.shape[1], device=str(q.device))
    q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    return flex(q, k, v, block_mask=seen, enable_gqa=q.shape[1] != k.shape[1]).transpose(1, 2)


@functools.lru_cache(maxsize=16)
def block_mask(parts: Parts, device: torch.device) -> Any:
    """FlexAttention's blocks for parts; kept, as making them takes longer than a layer."""
    from torch.nn.attention.flex_attention import create_block_mask

    rows, keys = max(part.queries[1] for part in parts), max(keys[1] for part in parts for keys in part.keys)
    return create_block_mask(_rule(parts, device), None, None, rows, keys, device=str(device))


def _rule(parts: Parts, device: torch.device) -> Callable[..., Tensor]:
    """Whether a row sees a key, read off tables of the rows' first and last keys."""
    most = max(len(part.keys) for part in parts)
    tables = torch.tensor([_bounds(part, most) for part in parts for _ in range(*part.queries)], device=device)
    low, high = tables.unbind(dim=-1)

    def sees(b: Tensor, h: Tensor, row: Tensor, key: Tensor) -> Tensor:
        inside = [(key >= low[row, index]) & (key < high[row, index]) for index in range(most)]
        return functools.reduce(torch.logical_or, inside)

    return sees


def _bounds(part: Part, most: int) -> list[tuple[int, int]]:
    """The ranges of keys of a part, and empty ones behind."""
    return [*part.keys, *[(0, 0)] * (most - len(part.keys))]


@functools.cache
def _compiled_flex() -> Any:
    """The kernel on its own: it exists compiled only, and else is slow and keeps all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)


# --------------------------------------------------------------------------------------------------- FlashAttention 3
def attend_fa3(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """FlashAttention 3 in bfloat16; with a mask, which it does not take, torch's own kernel."""
    if mask is not None:
        return attend_preferring("cudnn", q, k, v, mask)
    mixed = flash_attention_3()(*(x.to(torch.bfloat16).contiguous() for x in (q, k, v)))
    return (mixed[0] if isinstance(mixed, tuple) else mixed).to(q.dtype)


@functools.cache
def flash_attention_3() -> Callable[..., Any]:
    """The kernel, fetched on first use. Raises MissingToolError without the package ``kernels`` or a Hopper GPU."""
    if importlib.util.find_spec("kernels") is None:
        raise MissingToolError('attention "fa3" needs the package kernels: pip install kernels, or take "cudnn"')
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < (9, 0):
        raise MissingToolError('attention "fa3" needs a Hopper GPU or a later one; take "auto"')
    return importlib.import_module("kernels").get_kernel(FA3_KERNEL).flash_attn_func
