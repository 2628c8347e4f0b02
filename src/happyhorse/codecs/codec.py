"""What the pipeline asks of a codec: anything with these methods will do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from happyhorse.types import Text


class VideoCoder(Protocol):
    """Frames to latents and back; one latent frame per four pixel frames, the first one alone."""

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [B, 3, 4 (T - 1) + 1, height, width] in [-1, 1] to latents [B, 48, T, height / 16, width / 16]."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents to frames in [-1, 1]."""
        ...

    def decode_chunks(self, latent: Tensor, chunk: int) -> Iterator[Tensor]:
        """The same frames in parts of ``chunk`` latent frames."""
        ...


class AudioCoder(Protocol):
    """Sound to latents and back; one latent per pixel frame."""

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, 1000 Na] to latents [B, Na, 64]."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """Latents to a waveform in [-1, 1]."""
        ...


@dataclasses.dataclass(frozen=True)
class Codecs:
    """The two codecs that turn clips into latents and back."""

    video: VideoCoder
    audio: AudioCoder


class TextCoder(Protocol):
    """Prompts to what the model reads."""

    def batch(self, prompts: Sequence[str]) -> Text:
        """Prompts, padded to the longest; the empty one is the null prompt. Raises PromptError when one is too long."""
        ...

    def captions(self, texts: Sequence[str]) -> Text:
        """As ``batch``, with a mark at the end of each."""
        ...
