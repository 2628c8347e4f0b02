"""The speech bank (spoken words with the times of their phonemes), sentences made from it, and the mouth saying them.

The bank is a small file that travels with the package; ``bank_build.py`` makes it. Every word begins on a whole frame,
so that the same word always gives the same frames of sound.
"""

from __future__ import annotations

import functools
import json
import math
from importlib import resources
from typing import NamedTuple

import torch
from torch import Tensor

from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE
from happyhorse.data.scenes.sentences import said_words

BANK_FILE = "speech_bank.safetensors"
BANK_RATE = 16_000
"""Samples per second in the file: espeak-ng has little above 8 kHz, and a third of the file is saved."""
LEAD_FRAMES = 10
"""Frames of silence before the first word (0.42 s), one more where the seed says so."""
GAP = 0.08
"""Least silence between two words, in seconds."""


_TYPES = {"U8": torch.uint8, "I32": torch.int32}
"""The types of the bank's tensors, by the names that safetensors gives them."""


class Phoneme(NamedTuple):
    """One sound of a word in the International Phonetic Alphabet, in seconds from the word's start."""

    symbol: str
    start: float
    end: float


class Word(NamedTuple):
    """One word of the bank in one voice."""

    text: str
    waveform: Tensor
    """[S] float32 at 24 kHz, silence trimmed, all words equally loud."""
    phonemes: tuple[Phoneme, ...]

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


class Spot(NamedTuple):
    """A word in a sentence: which one, and when it starts and ends in the clip, in seconds."""

    word: Word
    start: float
    end: float


class Bank:
    """Words by language, voice and spelling."""

    def __init__(self, words: dict[tuple[str, str, str], Word]) -> None:
        self._words = words

    @staticmethod
    @functools.cache
    def load() -> Bank:
        """The bank that came with the package, read once."""
        metadata, tensors = read_safetensors(resources.files("happyhorse.data.scenes").joinpath(BANK_FILE).read_bytes())
        samples, bounds = tensors["samples"], tensors["bounds"].tolist()
        rate, words = int(metadata["rate"]), {}
        for entry, first, last in zip(json.loads(metadata["words"]), bounds, bounds[1:], strict=False):
            waveform = resample(mu_law_decode(samples[first:last]), rate, SAMPLE_RATE)
            phonemes = tuple(Phoneme(*phoneme) for phoneme in entry["phonemes"])
            words[entry["language"], entry["voice"], entry["word"]] = Word(entry["word"], waveform, phonemes)
        return Bank(words)

    def word(self, language: str, voice: str, text: str) -> Word:
        return self._words[language, voice, text]

    def words(self, language: str, voice: str) -> tuple[Word, ...]:
        """All words of a language in one voice."""
        return tuple(
            word for (tongue, speaker, _), word in self._words.items() if (tongue, speaker) == (language, voice)
        )


def read_safetensors(data: bytes) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file: a machine with torch alone can then draw its own training data."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        flat = torch.frombuffer(body[first:last], dtype=_TYPES[entry["dtype"]])
        tensors[name] = flat.view(entry["shape"])
    return metadata, tensors


def sentence(language: str, voice: str, text: str, lead_frames: int = LEAD_FRAMES) -> tuple[Spot, ...]:
    """The words of a sentence, or of other words of the language, each with its place in the clip."""
    frame, spots = lead_frames, []
    for name in said_words(language, text):
        word = Bank.load().word(language, voice, name)
        start = frame / FPS
        spots.append(Spot(word, start, start + word.seconds))
        frame = math.ceil((start + word.seconds + GAP) * FPS)
    return tuple(spots)


def sentence_seconds(language: str, voice: str, text: str) -> float:
    """When the last word of a sentence ends, in seconds from the start of the clip, at the latest lead."""
    return sentence(language, voice, text, LEAD_FRAMES + 1)[-1].end


def speak(spots: tuple[Spot, ...], samples: int) -> Tensor:
    """Waveform [samples] at 24 kHz of a sentence; what lies past the end is cut off."""
    waveform = torch.zeros(samples)
    for word, start, _ in spots:
        first = round(start * SAMPLE_RATE)
        room = waveform[first : first + len(word.waveform)]
        room += word.waveform[: len(room)]
    return waveform


# ---------------------------------------------------------------------------------------------------------- the mouth

OPEN, MID, CLOSE, ROUNDED, LOOSE = 1.0, 0.7, 0.4, 0.75, 0.15
"""Mouth openings: open, mid and close vowels; what lip rounding leaves of them; consonants that need no lips."""
_ROUND = "ɒɔoøœuʊyʏʉɵɶɞ"
_VOWELS = dict.fromkeys("aɑɒæɐʌäɶ", OPEN) | dict.fromkeys("eɛəɜɔoøœɤɚɝɵɞ", MID) | dict.fromkeys("iyɪʏuʊɯɨʉ", CLOSE)
_LIPS = _VOWELS | {letter: _VOWELS[letter] * ROUNDED for letter in _ROUND} | dict.fromkeys("mnɲŋɴɱpbfvɸβ", 0.0)
_STEPS = 10
"""Points of the mouth curve within a frame."""
_LIP_SECONDS = 0.07
"""Lips need about this long from one shape to the next."""


def openings(symbol: str) -> tuple[float, ...]:
    """Mouth openings, 0..1, that a phoneme passes through: several for a diphthong or a nasal end, else one."""
    return tuple(_LIPS[letter] for letter in symbol if letter in _LIPS) or (LOOSE,)


def mouth_curve(spots: tuple[Spot, ...], frames: int) -> tuple[float, ...]:
    """Mouth opening of each frame, 0..1: the phonemes' openings, smoothed, averaged over the frame's 1/24 s.

    Frame f covers the sound from f / 24 to (f + 1) / 24, which is also what audio latent f holds.
    """
    rate, targets = FPS * _STEPS, torch.zeros(frames * _STEPS)
    for word, start, _ in spots:
        for symbol, begin, end in word.phonemes:
            shapes = openings(symbol)
            edges = [round((start + begin + (end - begin) * i / len(shapes)) * rate) for i in range(len(shapes) + 1)]
            for opening, first, last in zip(shapes, edges, edges[1:], strict=False):
                targets[first:last] = opening
    lips = torch.hann_window(2 * round(_LIP_SECONDS * rate) + 1, periodic=False)
    smooth = torch.nn.functional.conv1d(targets[None, None], (lips / lips.sum())[None, None], padding="same")
    return tuple(smooth.view(frames, _STEPS).mean(1).tolist())


# ------------------------------------------------------------------------------------------------------ 8-bit samples


def mu_law_encode(samples: Tensor) -> Tensor:
    """Samples [S] in -1..1 as mu-law bytes (ITU-T G.711's curve, mu = 255)."""
    curve = samples.sign() * torch.log1p(255 * samples.abs().clamp(max=1)) / math.log(256)
    return ((curve + 1) / 2 * 255).round().to(torch.uint8)


def mu_law_decode(codes: Tensor) -> Tensor:
    """The inverse of ``mu_law_encode``: float32 samples [S]; the two middle codes, next to zero, are silence."""
    curve = codes.float() / 255 * 2 - 1
    return curve.sign() * (torch.expm1(curve.abs() * math.log(256)) / 255)


def resample(samples: Tensor, rate: int, target: int) -> Tensor:
    """Samples [S] at another rate, [S target / rate]: the spectrum is cut or padded, exact for band-limited sound."""
    if rate == target:
        return samples
    unit = rate // math.gcd(rate, target)
    margin = unit * math.ceil(rate / 100 / unit)
    tail = margin + (-len(samples)) % unit
    padded = torch.nn.functional.pad(samples, (margin, tail))
    size, start = len(padded) * target // rate, margin * target // rate
    spectrum = torch.fft.rfft(padded.double())
    bins = size // 2 + 1
    kept = torch.nn.functional.pad(spectrum[:bins], (0, max(bins - len(spectrum), 0)))
    length = round(len(samples) * target / rate)
    return (torch.fft.irfft(kept, size) * (target / rate))[start : start + length].float()
