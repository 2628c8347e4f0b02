"""``foal-asr``: a small recogniser for the seven languages of the speech bank, which it spells letter by letter.

Log-mel columns, halved in number and read by ConvNeXt blocks, give a distribution over letters 48 times a second;
training sums over all alignments (connectionist temporal classification, Graves et al. 2006). It is told no language
and holds no list of words or sentences.

Shapes: waveform [S] at 24 kHz; log-mel [B, 80, columns]; scores [B, columns / 2, 1 + letters].
"""

from __future__ import annotations

import dataclasses
import itertools
import unicodedata
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from happyhorse.codecs import mel
from happyhorse.codecs.audio import ConvNextBlock
from happyhorse.config import Config

BLANK = 0
"""The class that stands between letters."""
RANGE = 8.0
"""Nats below the loudest value that still count (70 dB)."""


@dataclasses.dataclass(frozen=True)
class EarConfig(Config):
    """What the recogniser can spell, and how wide it is."""

    letters: str
    """Every letter it knows, the space among them."""
    width: int = 176
    """Width of the blocks."""
    blocks: int = 8
    """Number of blocks; each looks three columns of 21 ms further to either side."""


class Ear(nn.Module):
    """Log-mel to letters."""

    def __init__(self, config: EarConfig) -> None:
        super().__init__()
        self.config = config
        self.stem = nn.Conv1d(mel.MELS, config.width, 5, stride=2, padding=2)
        self.blocks = nn.Sequential(*[ConvNextBlock(config.width) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 1 + len(config.letters))

    def forward(self, mel_log: Tensor) -> Tensor:
        """Log-probabilities [B, columns / 2, 1 + letters] of log-mels [B, 80, columns]; class 0 is the blank."""
        x = self.stem(relative(mel_log)).transpose(1, 2)
        return self.head(self.norm(self.blocks(x))).log_softmax(dim=2)

    def spell(self, classes: Sequence[int]) -> str:
        """The text of the likeliest classes of each column: repetitions are one letter, blanks are none."""
        kept = [index for index, _ in itertools.groupby(classes) if index != BLANK]
        return " ".join("".join(self.config.letters[index - 1] for index in kept).split())

    def targets(self, text: str) -> list[int]:
        """The classes of a text whose letters are all known."""
        return [1 + self.config.letters.index(letter) for letter in text]

    @torch.inference_mode()
    def transcribe(self, waveform: Tensor) -> str:
        """What is said in a waveform [S] at 24 kHz; empty if nothing is."""
        even = waveform.float()[: len(waveform) // (2 * mel.HOP) * 2 * mel.HOP]
        return self.spell(self(mel.log_mel(even[None]))[0].argmax(dim=1).tolist()) if len(even) >= mel.WINDOW else ""


def spelled(text: str) -> str:
    """A text as the recogniser writes it: NFKC and without case."""
    return unicodedata.normalize("NFKC", text).casefold()


def relative(mel_log: Tensor) -> Tensor:
    """Log-mels against the loudest value of each clip, 1 there and 0 at ``RANGE`` below: loudness says no words."""
    return ((mel_log - mel_log.amax(dim=(1, 2), keepdim=True)) / RANGE + 1).clamp(min=0)
