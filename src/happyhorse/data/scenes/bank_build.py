"""Builds the speech bank with espeak-ng: every word of every language in two voices, with exact phoneme times.

    python -m happyhorse.data.scenes.bank_build OUT.safetensors

Only rebuilding the bank needs espeak-ng (``apt-get install espeak-ng``); the built file travels with the package.
The synthesiser is spoken to through its C interface, because only that reports the sample at which each phoneme begins.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save
from torch import Tensor

from happyhorse.data.scenes.scene import SAMPLE_RATE
from happyhorse.data.scenes.sentences import LANGUAGES, VOICES, spoken, words
from happyhorse.data.scenes.speech import BANK_RATE, Phoneme, mu_law_encode, resample
from happyhorse.errors import MissingToolError, OutputError
from happyhorse.files import whole_file

ESPEAK_VOICES = {
    "English": "en-us",
    "Mandarin": "cmn-latn-pinyin",
    "Cantonese": "yue",
    "Japanese": "ja",
    "Korean": "ko",
    "German": "de",
    "French": "fr",
}
VARIANTS = {"man": "m3", "woman": "f2"}
WORDS_PER_MINUTE = 155
LOUDNESS = 0.12
"""Root mean square of each word."""
PEAK = 0.85
"""No word peaks above this, whatever its loudness."""
SILENCE = 0.02
"""Sound below this fraction of a word's peak is trimmed from its ends."""
FADE = 0.004
"""Seconds of fade at both ends of a word, so that it starts and stops without a click."""


class Spoken(NamedTuple):
    """One utterance: samples [S] at the synthesiser's rate and (symbol, first sample) of each phoneme."""

    samples: Tensor
    rate: int
    marks: list[tuple[str, int]]


class _Name(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Name),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
_PHONEME_EVENT = 7
_RETRIEVAL = 1
_IPA_EVENTS = 1 | 2
_UTF8 = 1
_RATE = 1


class Espeak:
    """The parts of libespeak-ng that the bank needs. Raises MissingToolError where it is not installed."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self._library = ctypes.CDLL(name)
        except OSError:
            raise MissingToolError(
                "the speech bank is built with espeak-ng, which this machine does not have; "
                "install it (apt-get install espeak-ng), or keep the bank that came with the package"
            ) from None
        self.rate = self._library.espeak_Initialize(_RETRIEVAL, 0, None, _IPA_EVENTS)

    def say(self, text: str, voice: str) -> Spoken:
        """``text`` in one of espeak-ng's voices, such as "de+f2"."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise MissingToolError(f"this espeak-ng has no voice {voice}; version 1.51 has it")
        self._library.espeak_SetParameter(_RATE, WORDS_PER_MINUTE, 0)
        chunks: list[Tensor] = []
        marks: list[tuple[str, int]] = []

        def receive(samples, count: int, events) -> int:
            if count:
                chunks.append(torch.tensor(samples[:count], dtype=torch.float32) / 32768)
            index = 0
            while events[index].type:
                if events[index].type == _PHONEME_EVENT:
                    marks.append((events[index].id.string.decode(), events[index].sample))
                index += 1
            return 0

        callback = _Callback(receive)
        self._library.espeak_SetSynthCallback(callback)
        data = text.encode()
        self._library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        foreign = [symbol for symbol, _ in marks if symbol.startswith("(")]
        assert not foreign, f"{voice} cannot read {text}: it changed language to {foreign}"
        return Spoken(torch.cat(chunks), self.rate, marks)


def trim(utterance: Spoken) -> tuple[Tensor, list[Phoneme]]:
    """The word without the silence around it, and its phonemes in seconds from its first sample."""
    samples, rate, marks = utterance
    loud = (samples.abs() > SILENCE * samples.abs().max()).nonzero()
    first, last = int(loud[0]), int(loud[-1]) + 1
    starts = [min(max(at - first, 0), last - first) / rate for _, at in marks] + [(last - first) / rate]
    phonemes = [
        Phoneme(symbol, round(start, 4), round(end, 4))
        for (symbol, _), start, end in zip(marks, starts, starts[1:], strict=False)
        if symbol and end > start
    ]
    return samples[first:last], phonemes


def level(samples: Tensor, rate: int) -> Tensor:
    """The word at the bank's loudness, faded in and out."""
    fade = torch.linspace(0, 1, round(FADE * rate))
    samples = samples - samples.mean()
    gain = min(LOUDNESS / float(samples.square().mean().sqrt()), PEAK / float(samples.abs().max()))
    samples = samples * gain
    samples[: len(fade)] *= fade
    samples[-len(fade) :] *= fade.flip(0)
    return samples


def build(espeak: Espeak) -> tuple[dict[str, Tensor], list[dict]]:
    """All words as one run of mu-law bytes with their bounds [words + 1], and one entry for each word."""
    pieces: list[Tensor] = []
    entries: list[dict] = []
    for language in LANGUAGES:
        for voice in VOICES:
            for word in words(language):
                utterance = espeak.say(spoken(language, word), f"{ESPEAK_VOICES[language]}+{VARIANTS[voice]}")
                samples, phonemes = trim(utterance)
                samples = resample(level(samples, utterance.rate), utterance.rate, BANK_RATE)
                pieces.append(mu_law_encode(samples))
                entries.append({"language": language, "voice": voice, "word": word, "phonemes": phonemes})
    bounds = torch.tensor([0] + [len(piece) for piece in pieces]).cumsum(0).to(torch.int32)
    return {"samples": torch.cat(pieces), "bounds": bounds}, entries


def write(path: Path, tensors: dict[str, Tensor], entries: list[dict]) -> None:
    """The bank in one safetensors file, complete or not at all."""
    metadata = {"rate": str(BANK_RATE), "words": json.dumps(entries, ensure_ascii=False, separators=(",", ":"))}
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print(f"usage: python -m {__spec__.name if __spec__ else 'bank_build'} OUT.safetensors", file=sys.stderr)
        return 2
    try:
        tensors, entries = build(Espeak())
        write(Path(arguments[0]), tensors, entries)
    except (MissingToolError, OutputError) as error:
        print(error, file=sys.stderr)
        return 2
    seconds = len(tensors["samples"]) / BANK_RATE
    print(f"{len(entries)} words, {seconds:.1f} s of speech at {BANK_RATE} Hz, played at {SAMPLE_RATE} Hz")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
