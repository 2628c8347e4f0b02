"""The sizes and streams that every room speaks of.

Shape legend, used in the whole package:
  B batch   T latent frames   H, W latent height and width   F pixel frames   N tokens   L text tokens
  Na audio latents (one per pixel frame)   S waveform samples   C channels
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.errors import SizeError

TIME_STRIDE = 4
"""Pixel frames per latent frame; the first latent frame holds the first pixel frame alone."""

SPACE_STRIDE = 16
"""Pixels per latent cell, in height and in width."""


@dataclasses.dataclass(frozen=True)
class ClipShape:
    """What is asked for: a duration and a picture size, and the latent sizes that follow from them."""

    seconds: float
    height: int
    width: int
    fps: int = 24

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise SizeError(f"a clip of {self.seconds:g} s has no frames; ask for more than 0 s")
        if self.height % (2 * SPACE_STRIDE) or self.width % (2 * SPACE_STRIDE) or min(self.height, self.width) < 1:
            raise SizeError(f"{self.width}x{self.height} is not a multiple of {2 * SPACE_STRIDE} px each way")

    @property
    def frames(self) -> int:
        """Pixel frames in the file: exactly ``seconds * fps``."""
        return max(1, round(self.seconds * self.fps))

    @property
    def latent_frames(self) -> int:
        """T: the smallest T whose ``4 (T - 1) + 1`` pixel frames cover the clip."""
        return -(-(self.frames - 1) // TIME_STRIDE) + 1

    @property
    def padded_frames(self) -> int:
        """Pixel frames in latent maths, ``4 (T - 1) + 1``; the file keeps the first ``frames`` of them."""
        return TIME_STRIDE * (self.latent_frames - 1) + 1

    @property
    def audio_latents(self) -> int:
        """Na: one audio latent per pixel frame in latent maths."""
        return self.padded_frames

    @property
    def latent_size(self) -> tuple[int, int, int]:
        """(T, H, W) of the video latent."""
        return self.latent_frames, self.height // SPACE_STRIDE, self.width // SPACE_STRIDE

    @property
    def tokens(self) -> int:
        """Video patches of 2 x 2 cells and audio latents: the rows of a model with one audio latent to a row."""
        frames, height, width = self.latent_size
        return frames * height * width // 4 + self.audio_latents


@dataclasses.dataclass(frozen=True)
class Latents:
    """The two streams that are denoised together, or anything of their shape: noise, velocity, a mask."""

    video: Tensor
    """[B, C_video, T, H, W]"""
    audio: Tensor
    """[B, Na, C_audio]"""

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(fn(self.video), fn(self.audio))

    def zip(self, other: Latents, fn: Callable[[Tensor, Tensor], Tensor]) -> Self:
        return type(self)(fn(self.video, other.video), fn(self.audio, other.audio))

    def to(self, *args, **kwargs) -> Self:
        return self.map(lambda stream: stream.to(*args, **kwargs))

    def __getitem__(self, rows: slice) -> Self:
        """The same streams for a slice of the batch."""
        return self.map(lambda stream: stream[rows])


@dataclasses.dataclass(frozen=True)
class Text:
    """Prompts as the model reads them, padded on the right to the longest of the batch."""

    values: Tensor
    """Token ids [B, L] (int64), or encoder features [B, L, C_text] (floating point)."""
    lengths: Tensor
    """True number of text tokens of each sample, [B] int64; rows past it are padding and are never attended to."""

    def padded(self, multiple: int) -> Self:
        """Token ids filled up on the right to a multiple, so that few lengths occur."""
        missing = -self.values.shape[1] % multiple
        return type(self)(F.pad(self.values, (0, missing)), self.lengths)

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.values.to(device), self.lengths.to(device))


@dataclasses.dataclass(frozen=True)
class Known:
    """Latents that are given clean and stay as they are while the rest is generated around them.

    Image-to-video is "video frame 0 is known"; sound given, picture given, last frame given and continuation are
    other masks of the same kind.
    """

    latents: Latents
    """Clean values; where the mask is False they are not read (zeros will do)."""
    video_mask: Tensor
    """[B, T] bool: which latent frames of the video are known."""
    audio_mask: Tensor
    """[B, Na] bool: which audio latents are known."""

    def masks(self) -> Latents:
        """The masks, broadcastable to the latents: [B, 1, T, 1, 1] and [B, Na, 1]."""
        return Latents(self.video_mask[:, None, :, None, None], self.audio_mask[:, :, None])

    def paste(self, latents: Latents) -> Latents:
        """``latents`` with the known parts put in place."""
        masks = self.masks()
        return Latents(
            torch.where(masks.video, self.latents.video, latents.video),
            torch.where(masks.audio, self.latents.audio, latents.audio),
        )

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.latents.to(device), self.video_mask.to(device), self.audio_mask.to(device))
