"""Which sentence of the speech bank is heard? A matcher that compares log-mel pictures, and ranks every sentence.

The sound is compared with every (language, voice, sentence) of the bank at every shift within a quarter of a second, as
the cosine between what stands out of silence: sound where the sentence has none counts against it, so "hello" does not
pass for "hello my friend". It knows only the bank's sentences: it tells them apart, it does not transcribe.

Shapes: waveform [S] at 24 kHz; a picture is [80 bands, columns], 96 columns a second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from happyhorse.codecs import mel
from happyhorse.data.scenes.sentences import LANGUAGES, VOICES, sentences
from happyhorse.data.scenes.speech import LEAD_FRAMES, sentence, speak

COLUMNS_PER_SECOND = mel.SAMPLE_RATE / mel.HOP
SHIFT_MAX = round(0.25 * COLUMNS_PER_SECOND)
"""Columns by which speech may come early or late."""
RANGE_DB = 45.0
"""What is this far below the loudest column is silence: room tone and codec hiss do not count."""
BANDS = slice(3, 72)
"""About 80 Hz to 9 kHz: the bank holds nothing above 8 kHz."""


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One thing that may be said."""

    language: str
    voice: str
    sentence: str


@dataclasses.dataclass(frozen=True)
class Heard:
    """An utterance and how like it the sound is."""

    utterance: Utterance
    score: float
    """Cosine in [-1, 1] at the best shift."""


def bank_utterances() -> tuple[Utterance, ...]:
    """Everything the bank's voices can say."""
    return tuple(
        Utterance(tongue, voice, text) for tongue in LANGUAGES for voice in VOICES for text in sentences(tongue)
    )


class SpeechMatcher:
    """Ranks the bank's utterances by likeness to a sound of a given length."""

    def __init__(self, samples: int, utterances: Sequence[Utterance] | None = None) -> None:
        self.samples = samples - samples % mel.HOP
        self.utterances = tuple(utterances or bank_utterances())
        rows = [_unit(standing_out(_spoken(utterance, self.samples)).flatten()) for utterance in self.utterances]
        self._templates = torch.stack(rows)

    def rank(self, waveform: Tensor, voice: str | None = None) -> list[Heard]:
        """Utterances (of one voice, if given), the most alike first. ``waveform`` [S] is cut or padded to fit."""
        sound = torch.nn.functional.pad(waveform.float(), (0, max(0, self.samples - len(waveform))))[: self.samples]
        shifted = _shifts(standing_out(sound)).flatten(1)
        scores = (shifted @ self._templates.T / shifted.norm(dim=1, keepdim=True).clamp(min=1e-9)).amax(dim=0)
        heard = [Heard(utterance, score) for utterance, score in zip(self.utterances, scores.tolist(), strict=True)]
        chosen = [entry for entry in heard if voice in (None, entry.utterance.voice)]
        return sorted(chosen, key=lambda entry: -entry.score)


def standing_out(waveform: Tensor) -> Tensor:
    """Picture [69, columns] of a waveform [S]: level above silence in units of the range, zero where it is silent.

    Each band's mean over the sounding columns is taken away: what tells words apart is change, not timbre. Columns of
    silence weigh through the norm alone: where one of two sounds is silent and the other is not, they are less alike.
    """
    level = mel.log_mel(waveform[None])[0, BANDS] * (20 / math.log(10))
    above = ((level - level.max()) / RANGE_DB + 1).clamp(min=0)
    sounding = above.amax(dim=0) > 0.25
    mean = above[:, sounding].sum(dim=1, keepdim=True) / sounding.sum().clamp(min=1)
    return torch.where(sounding, above - mean, 0.0)


def _spoken(utterance: Utterance, samples: int) -> Tensor:
    spots = sentence(utterance.language, utterance.voice, utterance.sentence, LEAD_FRAMES)
    return speak(spots, samples)


def _shifts(picture: Tensor) -> Tensor:
    """The picture moved by every shift, [2 SHIFT_MAX + 1, bands, columns]; silence comes in from the sides."""
    padded = torch.nn.functional.pad(picture, (SHIFT_MAX, SHIFT_MAX))
    return padded.unfold(1, picture.shape[1], 1).transpose(0, 1)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-9)
