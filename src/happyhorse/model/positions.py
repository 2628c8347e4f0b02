"""Where a token stands: coordinates of every modality on one (time, row, column) grid, and rotary embedding by them.

A coordinate row holds nine numbers: position (t, row, col), the token's own grid size, and a reference grid size. The
angle of axis a and band b is ``(pos - centre) * (reference - 1) / (size - 1) * frequency[b]``: rows and columns are
counted from the middle of the picture, and time is stretched from the own grid to the reference grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from happyhorse.types import TIME_STRIDE

CAPTION_ROOM = 32
"""Latent frames before the clip at which its caption begins."""


def video_coordinates(grid: tuple[int, int, int], device: torch.device | None = None) -> Tensor:
    """[T * h * w, 9] for a grid of T latent frames of h x w patches, in the order time, row, column."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in grid]
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)
    size = torch.tensor([*grid, *grid], dtype=torch.float32, device=device)
    return torch.cat([position, size.expand(len(position), 6)], dim=-1)


def audio_coordinates(
    style: str, latents: int, patch: int, latent_frames: int, device: torch.device | None = None
) -> Tensor:
    """[tokens, 9] for ``latents`` audio latents, ``patch`` of them per token, which stands at their mean.

    "foal": latent i at time i / 4, exactly, in units of video latent frames. "v2": the last latent at
    floor((latents - 1) / 4). "v1": the last latent at the last of the video's ``latent_frames``.
    """
    tokens = -(-latents // patch)
    padding = tokens * patch - latents
    time = torch.arange(tokens, dtype=torch.float32, device=device) * patch + (patch - 1) / 2 - padding
    reference = {
        "foal": (latents - 1) / TIME_STRIDE + 1,
        "v2": (latents - 1) // TIME_STRIDE + 1,
        "v1": latent_frames,
    }[style]
    return _line(time, torch.full_like(time, latents), torch.full_like(time, reference))


def text_coordinates(style: str, lengths: Tensor, rows: int) -> Tensor:
    """[B, rows, 9] for prompts of the given true ``lengths`` [B]; rows past them are padding and stand anywhere.

    "foal": the prompt ends just before the clip, at times -L .. -1. "v2": the same positions, scaled to zero (so that
    token order is unknown) unless L = 1. "v1": L tokens spread over times 0 .. 1.
    """
    length = lengths[:, None].float()
    index = torch.arange(rows, dtype=torch.float32, device=lengths.device).expand(len(lengths), rows)
    time = index if style == "v1" else index - length
    reference = {"foal": length, "v2": torch.ones_like(length), "v1": torch.full_like(length, 2)}[style]
    return _line(time, length.expand_as(time), reference.expand_as(time))


def caption_coordinates(rows: int, start: int, device: torch.device | None = None) -> Tensor:
    """[rows, 9] for words ``start`` .. ``start + rows - 1`` of a caption.

    Its length is not known while it is written: word i stands at time i - CAPTION_ROOM, about where a prompt's stand.
    """
    time = torch.arange(start, start + rows, dtype=torch.float32, device=device) - CAPTION_ROOM
    one = torch.ones_like(time)
    return _line(time, one, one)


def _line(time: Tensor, size: Tensor, reference: Tensor) -> Tensor:
    """Coordinates of tokens that have a time but no place in the picture."""
    zero, one = torch.zeros_like(time), torch.ones_like(time)
    return torch.stack([time, zero, zero, size, one, one, reference, one, one], dim=-1)


def angles(coordinates: Tensor, bands: Tensor) -> Tensor:
    """Rotary angles [..., 3 * bands] in the order time, row, column, from coordinates [..., 9]; float32.

    An axis of size 1 has scale 1, so that a prompt of one token has a place.
    """
    position, size, reference = coordinates.float().split(3, dim=-1)
    centre = (size - 1) / 2 * torch.tensor([0.0, 1.0, 1.0], device=size.device)
    scale = torch.where(size > 1, (reference - 1) / (size - 1).clamp(min=1), 1.0)
    return (((position - centre) * scale)[..., None] * bands.float()).flatten(-2)


def frequencies(bands: int, device: torch.device | None = None, *, top: float = 1.0, base: float = 10_000.0) -> Tensor:
    """Band frequencies ``top * base^(-b / bands)`` in radians per step, [bands] float32."""
    return top * base ** (-torch.arange(bands, dtype=torch.float32, device=device) / bands)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the first channels of x [B, N, heads, D] by tables [B or 1, N, 1, R]: channel j pairs with j + R.

    The last D - 2 R channels pass unchanged.
    """
    width = cos.shape[-1]
    first, second, rest = x.split([width, width, x.shape[-1] - 2 * width], dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)
