"""One sequence from two streams and a prompt: patches in and out, and the layout of the rows.

Rows are ordered video, audio, text, so that the rows of a modality are one contiguous slice. Inside the video they are
ordered by latent frame, then patch row, then patch column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.config import ModelConfig
from happyhorse.model import positions
from happyhorse.types import Latents, Text

VIDEO, AUDIO, TEXT = range(3)


# ------------------------------------------------------------------------------------------------ patches in and out
def pack_video(latent: Tensor) -> Tensor:
    """[B, C, T, H, W] -> tokens [B, T * H/2 * W/2, 4 C]; token channels in the order (c, patch row, patch column)."""
    patches = latent.unflatten(4, (-1, 2)).unflatten(3, (-1, 2))  # B C T h 2 w 2
    return patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)


def unpack_video(tokens: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Tokens [B, T * h * w, 4 C] -> [B, C, T, 2 h, 2 w]; here the order is (patch row, patch column, c).

    The published weights read one order and write the other; mixing them up gives noise.
    """
    patches = tokens.unflatten(1, grid).unflatten(-1, (2, 2, -1))  # B T h w 2 2 C
    return patches.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)


def pack_audio(latent: Tensor, patch: int) -> Tensor:
    """[B, Na, C] -> tokens [B, ceil(Na / patch), patch * C]; zeros fill up the first token.

    With patch 4 the tokens are then the pixel frames of the video's latent frames: the first alone, then four by four.
    """
    missing = -latent.shape[1] % patch
    return F.pad(latent, (0, 0, missing, 0)).unflatten(1, (-1, patch)).flatten(2)


def unpack_audio(tokens: Tensor, latents: int, patch: int) -> Tensor:
    """Inverse of ``pack_audio``: tokens [B, n, patch * C] -> [B, latents, C]."""
    return tokens.unflatten(2, (patch, -1)).flatten(1, 2)[:, -latents:]


def over_patches(video: Tensor, audio: Tensor, like: Latents, patch: int) -> Latents:
    """One number for each token, [B, video tokens, 1] and [B, audio tokens, 1], at every place that the token covers.

    The result broadcasts over the channels of ``like``: [B, 1, T, H, W] and [B, Na, 1].
    """
    return Latents(
        unpack_video(video.expand(-1, -1, 4), patch_grid(like.video)),
        unpack_audio(audio.expand(-1, -1, patch), like.audio.shape[1], patch),
    )


# --------------------------------------------------------------------------------------------------------- the layout
Spans = tuple[tuple[int, int], ...]
"""(modality, number of rows) of each slice of a sequence, in order."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a pass are arranged; depends on sizes and text lengths only, so one serves all steps."""

    spans: Spans
    """Slices of the rows by modality."""
    cos: Tensor
    """[B or 1, N, 1, 3 * bands]"""
    sin: Tensor
    """[B or 1, N, 1, 3 * bands]"""
    key_mask: Tensor | None = None
    """[B, 1, 1, keys] bool, True where a key may be seen; None if all may."""
    causal: bool = False
    """Whether a row sees only itself and the rows before it."""
    frames: int = 0
    """Latent frames that the video rows are divided into."""

    @property
    def video_rows(self) -> int:
        return sum(rows for modality, rows in self.spans if modality == VIDEO)


@dataclasses.dataclass(frozen=True)
class RowCache:
    """Keys and values of some rows in every layer, computed once: those of a prompt are read at every denoising step,
    those of a clip by every word of its caption."""

    keys: tuple[Tensor, ...]
    """Per layer [B, rows, kv heads, D], rotated."""
    values: tuple[Tensor, ...]
    """Per layer [B, rows, kv heads, D]"""
    mask: Tensor | None = None
    """[B, rows] bool, True at true tokens; None if no row is padding."""

    @property
    def rows(self) -> int:
        return self.keys[0].shape[1]

    def joined(self, other: RowCache) -> RowCache:
        """These rows, then the others; neither is padded."""
        assert self.mask is None and other.mask is None, "rows that are padded cannot be followed by others"
        keys, values = (
            (torch.cat(pair, dim=1) for pair in zip(*both, strict=True))
            for both in ((self.keys, other.keys), (self.values, other.values))
        )
        return RowCache(tuple(keys), tuple(values))

    def expand(self, batch: int) -> RowCache:
        """One prompt's cache for a batch of clips."""
        keys = tuple(key.expand(batch, -1, -1, -1) for key in self.keys)
        values = tuple(value.expand(batch, -1, -1, -1) for value in self.values)
        return RowCache(keys, values, None if self.mask is None else self.mask.expand(batch, -1))


def patch_grid(video: Tensor) -> tuple[int, int, int]:
    """(T, H / 2, W / 2) of a video latent [B, C, T, H, W]."""
    frames, height, width = video.shape[2:]
    assert height % 2 == 0 and width % 2 == 0, f"latent of {height} x {width} cells cannot be cut into 2 x 2 patches"
    return frames, height // 2, width // 2


def text_mask(text: Text) -> Tensor | None:
    """[B, L] bool, True at true tokens, or None if nothing is padded (then attention takes its fast path)."""
    rows = text.values.shape[1]
    if bool((text.lengths == rows).all()):
        return None
    return torch.arange(rows, device=text.lengths.device) < text.lengths[:, None]


def text_layout(config: ModelConfig, bands: Tensor, text: Text) -> Layout:
    """Layout of the text's own pass. Padding stands on the right, so causality alone hides it from true tokens."""
    rows = text.values.shape[1]
    coordinates = positions.text_coordinates(config.coordinates, text.lengths, rows)
    return Layout(((TEXT, rows),), *_tables(coordinates, bands), causal=True)


def caption_layout(bands: Tensor, rows: int, start: int, seen: int) -> Layout:
    """Layout of the words ``start`` .. ``start + rows - 1`` of a caption, which see each other causally and all of the
    ``seen`` cached rows: the clip's and those of the words before."""
    coordinates = positions.caption_coordinates(rows, start, bands.device)
    own = torch.ones(rows, rows, dtype=torch.bool, device=bands.device).tril()
    mask = None if rows == 1 else F.pad(own, (0, seen), value=True)[None, None]
    return Layout(((TEXT, rows),), *_tables(coordinates[None], bands), key_mask=mask)


def media_layout(config: ModelConfig, bands: Tensor, latents: Latents, text: Text | RowCache | None) -> Layout:
    """Layout of the media's pass over its own rows and the cached text keys, if there are any."""
    coordinates, spans = _media(config, latents)
    mask = text_mask(text) if isinstance(text, Text) else text.mask if text else None
    return _layout(coordinates[None], bands, spans, mask, latents.video.shape[2])


def joint_layout(config: ModelConfig, bands: Tensor, latents: Latents, text: Text) -> Layout:
    """Layout of the single pass in which text rows take part like all others."""
    coordinates, spans = _media(config, latents)
    rows = text.values.shape[1]
    words = positions.text_coordinates(config.coordinates, text.lengths, rows)
    coordinates = torch.cat([coordinates.expand(len(words), -1, -1), words], dim=1)
    return _layout(coordinates, bands, (*spans, (TEXT, rows)), text_mask(text), latents.video.shape[2])


def _media(config: ModelConfig, latents: Latents) -> tuple[Tensor, Spans]:
    grid, device = patch_grid(latents.video), latents.video.device
    video = positions.video_coordinates(grid, device)
    audio = positions.audio_coordinates(config.coordinates, latents.audio.shape[1], config.audio_patch, grid[0], device)
    return torch.cat([video, audio]), ((VIDEO, len(video)), (AUDIO, len(audio)))


def _layout(coordinates: Tensor, bands: Tensor, spans: Spans, mask: Tensor | None, frames: int) -> Layout:
    cos, sin = _tables(coordinates, bands)
    if mask is not None:
        media_rows = sum(rows for modality, rows in spans if modality != TEXT)
        mask = F.pad(mask, (media_rows, 0), value=True)[:, None, None]
    return Layout(spans, cos, sin, mask, frames=frames)


def _tables(coordinates: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
    angle = positions.angles(coordinates, bands)[:, :, None]
    return angle.cos(), angle.sin()


def by_modality(x: Tensor, spans: Spans, fn: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Applies ``fn(rows, modality)`` to each modality's slice of x [B, N, ...] and joins the results."""
    if len(spans) == 1:
        return fn(x, spans[0][0])
    parts = x.split([rows for _, rows in spans], dim=1)
    return torch.cat([fn(part, modality) for part, (modality, _) in zip(parts, spans, strict=True)], dim=1)
