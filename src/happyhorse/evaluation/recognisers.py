"""Those who write down what they hear: ``foal-asr``, which comes with the package, and two that people bring along.

Whisper (Radford et al. 2022) runs through transformers from weights that are already on this machine; PocketSphinx
hears English only and is an ear that had nothing to do with ours.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.codecs.ear import Ear, EarConfig
from happyhorse.data.scenes.scene import SAMPLE_RATE
from happyhorse.data.scenes.sentences import LANGUAGES
from happyhorse.data.scenes.speech import resample
from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.weights.registry import asr_folder
from happyhorse.weights.store import load_config, load_module, read_manifest, verified

HEARING_RATE = 16_000
"""Samples per second that Whisper and PocketSphinx want."""


class Recogniser(Protocol):
    """Hears a clip and writes it down."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Changes when what it hears may change."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that it can be asked about."""
        ...

    def transcribe(self, waveform: NDArray[np.floating], language: str) -> str:
        """What is said in a waveform [S] at 24 kHz; empty if nothing is."""
        ...


class FoalAsr:
    """The small recogniser of the speech bank's languages; it is told no language."""

    name = "foal-asr"
    languages = LANGUAGES

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or asr_folder()
        self.fingerprint = read_manifest(folder).fingerprint
        self._ear = load_ear(folder)

    def transcribe(self, waveform: NDArray[np.floating], language: str) -> str:
        return self._ear.transcribe(torch.from_numpy(np.asarray(waveform, np.float32)))


@functools.cache
def load_ear(folder: Path) -> Ear:
    """The recogniser of a folder, its hash compared. Raises WeightsError if it is missing or damaged."""
    path = verified(folder, read_manifest(folder), "asr")
    ear = Ear(load_config(EarConfig, path))
    load_module(ear, path)
    return ear.eval()


class Whisper:
    """A Whisper model from the user's cache or folder, through transformers. Only the third large one knows Cantonese;
    the others are not asked about it."""

    def __init__(self, model: str = "openai/whisper-large-v3", device: str = "cpu") -> None:
        if importlib.util.find_spec("transformers") is None:
            raise MissingToolError("whisper needs transformers: pip install 'happyhorse[magihuman]'")
        pipeline = importlib.import_module("transformers").pipeline
        self.name = self.fingerprint = f"whisper ({model})"
        try:
            # "automatic-speech-recognition" is what the library calls the task; nothing is fetched here.
            self._hear: Any = pipeline("automatic-speech-recognition", model=model, device=device)
        except OSError as error:
            raise MissingToolError(
                f"the weights of {model} are not on this machine: hf download {model}, or give a folder"
            ) from error

        known = self._hear.model.generation_config.lang_to_id
        self.languages = tuple(one for one in LANGUAGES if one != "Cantonese" or "<|yue|>" in known)

    def transcribe(self, waveform: NDArray[np.floating], language: str) -> str:
        sound = {"raw": hearing(waveform), "sampling_rate": HEARING_RATE}
        spoken = {"Mandarin": "chinese"}.get(language, language.lower())
        return str(self._hear(sound, generate_kwargs={"language": spoken, "task": "transcribe"})["text"])


class Sphinx:
    """PocketSphinx with the English model that comes with it."""

    name = "pocketsphinx"
    languages = ("English",)

    def __init__(self) -> None:
        if importlib.util.find_spec("pocketsphinx") is None:
            raise MissingToolError("pocketsphinx is not installed: pip install pocketsphinx")
        decoder = importlib.import_module("pocketsphinx").Decoder
        self.fingerprint = f"pocketsphinx {importlib.metadata.version('pocketsphinx')}"
        self._decoder: Any = decoder(loglevel="FATAL")

    def transcribe(self, waveform: NDArray[np.floating], language: str) -> str:
        levels = (hearing(waveform).clip(-1, 1) * 32767).astype(np.int16)
        self._decoder.start_utt()
        self._decoder.process_raw(levels.tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""


def transcripts(waveform: NDArray[np.floating], language: str, recognisers: Sequence[Recogniser]) -> dict[str, str]:
    """What each recogniser that knows the language writes down, by its name."""
    return {one.name: one.transcribe(waveform, language) for one in recognisers if language in one.languages}


def hearing(waveform: NDArray[np.floating]) -> NDArray[np.float32]:
    """A waveform [S] at 24 kHz as one at 16 kHz."""
    return resample(torch.from_numpy(np.asarray(waveform, np.float32)), SAMPLE_RATE, HEARING_RATE).numpy()


def recogniser(name: str) -> Recogniser:
    """A recogniser by its name: foal-asr, pocketsphinx, whisper, or whisper:MODEL (a folder or a name on the hub).

    Raises ConfigError, listing these, for another name, and MissingToolError, with the command that gets it, for one
    that is not on this machine.
    """
    kind, _, model = name.partition(":")
    if kind == "foal-asr" and not model:
        return FoalAsr()
    if kind == "pocketsphinx" and not model:
        return Sphinx()
    if kind == "whisper":
        return Whisper(model) if model else Whisper()
    raise ConfigError(f"recogniser {name!r} is unknown; known are foal-asr, pocketsphinx, whisper, whisper:MODEL")


def recognisers(names: Sequence[str]) -> tuple[Recogniser, ...]:
    """Those that are named; if none is, foal-asr, and PocketSphinx where it is installed."""
    own = ["foal-asr", *(["pocketsphinx"] if importlib.util.find_spec("pocketsphinx") else [])]
    return tuple(recogniser(name) for name in names or own)
