"""Which rows see which: attention as parts, each a range of queries and the ranges of keys that these see.

Parts partition the queries, so whatever computes one part exactly computes the whole exactly, without a mask of all
queries times all keys. Windows over latent frames are the reason: at 512 x 512 a row sees 11 % of the keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from happyhorse.model.attention import frame_windows

Range = tuple[int, int]
"""First row, and last row + 1."""
Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""Attention of q [B, N, Hq, D] over all of k and v [B, keys, Hkv, D], and a mask [B, 1, 1, keys], as [B, N, Hq, D]."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Queries that see the same keys."""

    queries: Range
    """Rows of the queries."""
    keys: tuple[Range, ...]
    """Rows of the keys that all of them see."""


Parts = tuple[Part, ...]


def all_keys(rows: int, keys: int) -> Parts:
    """Every query sees every key."""
    return (Part((0, rows), ((0, keys),)),)


def near_frames(rows: int, keys: int, frames: int, video_rows: int, radius: int) -> Parts:
    """Video rows of frame i see video keys of frames i - radius .. i + radius; all else is seen by all, and sees all.

    The first ``video_rows`` rows and keys are the video's, ``frames`` equal slices.
    """
    per_frame = video_rows // frames
    parts = [
        Part((start * per_frame, stop * per_frame), ((low * per_frame, high * per_frame), (video_rows, keys)))
        for start, stop, low, high in frame_windows(frames, radius)
    ]
    return (*parts, Part((video_rows, rows), ((0, keys),))) if rows > video_rows else tuple(parts)


def density(parts: Parts) -> float:
    """Share of all pairs of a query and a key that parts hold."""
    pairs = sum(_length(part.queries) * sum(map(_length, part.keys)) for part in parts)
    return pairs / (max(part.queries[1] for part in parts) * max(keys[1] for part in parts for keys in part.keys))


def attend_parts(attend: Attend, parts: Parts, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """``attend`` over every part on its own, joined: [B, N, query heads, D].

    q is [B, N, query heads, D], k and v are [B, keys, kv heads, D], ``mask`` is [B, 1, 1, keys], True where a key may
    be seen.
    """
    if len(parts) == 1 and len(parts[0].keys) == 1:
        return attend(q, k, v, mask)
    mixed = [attend(q[:, slice(*part.queries)], *_seen(part, k, v, mask)) for part in parts]
    return torch.cat(mixed, dim=1)


def _seen(part: Part, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    ranges = [slice(*keys) for keys in part.keys]
    near = None if mask is None else torch.cat([mask[..., keys] for keys in ranges], dim=-1)
    return torch.cat([k[:, keys] for keys in ranges], dim=1), torch.cat([v[:, keys] for keys in ranges], dim=1), near


def dense_mask(parts: Parts, device: torch.device) -> Tensor:
    """[N, keys] bool, True where a query sees a key: what parts save; for comparison and for kernels that need it."""
    rows, keys = max(part.queries[1] for part in parts), max(keys[1] for part in parts for keys in part.keys)
    mask = torch.zeros(rows, keys, dtype=torch.bool, device=device)
    for part in parts:
        for seen in part.keys:
            mask[slice(*part.queries), slice(*seen)] = True
    return mask


def _length(rows: Range) -> int:
    return rows[1] - rows[0]
