"""Attention as pure functions: softmax or sigmoid, over all keys or over near latent frames only.

Shapes: q [B, N, query heads, D], k and v [B, keys, kv heads, D], result [B, N, query heads, D]. Query head h reads kv
head ``h // (query heads / kv heads)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PRODUCTS_ROWS = 1000
"""Longest sequence whose matrix of scores is worth keeping for the backward pass."""


def attend(q: Tensor, k: Tensor, v: Tensor, kind: str, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention of ``kind`` "softmax" or "sigmoid"; ``mask`` [B, 1, 1 or N, keys] is True where a key may be seen."""
    assert mask is None or not causal, "a causal pass has its padding on the right and needs no mask"
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if kind == "softmax" and _better_as_products(q):
        return softmax_products(q, k, v, _lower_triangle(q) if causal else mask).transpose(1, 2)
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    if kind == "softmax":
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    else:
        mixed = sigmoid_attention(q, k, v, _lower_triangle(q) if causal else mask)
    return mixed.transpose(1, 2)


def softmax_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``softmax(q k^T / sqrt(D)) v`` as two matrix products: q [B, heads, N, D], k and v [B, kv heads, keys, D].

    Queries that read the same keys are one tall matrix. Normed queries and keys bound the scores (by sqrt(D) times the
    norms' weights), so exp needs no row maximum, and the sum that softmax divides by is one more column of the second
    product. Equal to softmax while scores lie within +-60, where they are cut off. Scores and exp are float32.
    """
    groups = q.shape[1] // k.shape[1]
    tall = q.unflatten(1, (-1, groups)).flatten(2, 3)
    weights = ((tall @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5).clamp(-60, 60).exp()
    if mask is not None:
        weights = torch.where(mask if mask.shape[-2] == 1 else mask.repeat(1, 1, groups, 1), weights, 0.0)
    sums = weights.to(v.dtype) @ torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
    mixed = (sums[..., :-1].float() / sums[..., -1:].float()).to(v.dtype)
    return mixed.unflatten(2, (groups, -1)).flatten(1, 2)


def _better_as_products(q: Tensor) -> bool:
    """Training in bfloat16 on a CPU: the fused kernel's forward and backward pass are two to three times slower."""
    # The number of rows last: a graph that is compiled for inference never asks for it, and so serves all of them.
    training = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    return training and q.shape[2] <= PRODUCTS_ROWS


def sigmoid_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``sigmoid(q k^T / sqrt(D) - ln n) v`` over [B, heads, N, D], n the number of keys that the query may see.

    The bias makes a row of weights sum to about 1 at the start, whatever the length (arXiv 2409.04431).
    """
    scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    if mask is None:
        weights = torch.sigmoid(scores - torch.tensor(float(k.shape[-2])).log().item())
    else:
        bias = mask.sum(dim=-1, keepdim=True).float().log()
        weights = torch.sigmoid(scores - bias) * mask
    return weights.to(v.dtype) @ v


def _lower_triangle(q: Tensor) -> Tensor:
    rows = q.shape[2]
    return torch.ones(rows, rows, dtype=torch.bool, device=q.device).tril()[None, None]


def attend_local(
    q: Tensor, k: Tensor, v: Tensor, kind: str, frames: int, video_rows: int, radius: int, mask: Tensor | None = None
) -> Tensor:
    """Attention in which a video row of frame i sees video keys of frames i - radius .. i + radius only.

    All other keys are seen by all rows, and all other rows see everything. Exact and without a dense mask: one call per
    distinct range of frames. The first ``video_rows`` rows and keys are the video's, ``frames`` equal slices.
    """
    per_frame = video_rows // frames
    parts = []
    for start, stop, low, high in frame_windows(frames, radius):
        keys = [slice(low * per_frame, high * per_frame), slice(video_rows, k.shape[1])]
        near_k, near_v = (torch.cat([x[:, s] for s in keys], dim=1) for x in (k, v))
        near_mask = None if mask is None else torch.cat([mask[..., s] for s in keys], dim=-1)
        parts.append(attend(q[:, start * per_frame : stop * per_frame], near_k, near_v, kind, near_mask))
    if q.shape[1] > video_rows:
        parts.append(attend(q[:, video_rows:], k, v, kind, mask))
    return torch.cat(parts, dim=1)


def attend_crossed(q: Tensor, k: Tensor, v: Tensor, kind: str, video_rows: int, mask: Tensor | None = None) -> Tensor:
    """The sum of two attentions: one over a row's own medium and the text, one over the other medium.

    The first ``video_rows`` of the N queries are the video's, the others the sound's; the keys are these N, then text.
    """
    media = q.shape[1]
    text, mixed = slice(media, k.shape[1]), []
    for own, other in (
        (slice(0, video_rows), slice(video_rows, media)),
        (slice(video_rows, media), slice(0, video_rows)),
    ):
        near_k, near_v = (torch.cat([x[:, own], x[:, text]], dim=1) for x in (k, v))
        near_mask = None if mask is None else torch.cat([mask[..., own], mask[..., text]], dim=-1)
        alone = attend(q[:, own], near_k, near_v, kind, near_mask)
        mixed.append(alone + attend(q[:, own], k[:, other], v[:, other], kind))
    return torch.cat(mixed, dim=1)


def frame_windows(frames: int, radius: int) -> list[tuple[int, int, int, int]]:
    """(first, last + 1) query frames and the (first, last + 1) key frames they see; equal windows are merged."""
    windows: list[tuple[int, int, int, int]] = []
    for frame in range(frames):
        low, high = max(0, frame - radius), min(frames, frame + radius + 1)
        if windows and windows[-1][2:] == (low, high):
            windows[-1] = (windows[-1][0], frame + 1, low, high)
        else:
            windows.append((frame, frame + 1, low, high))
    return windows
