"""Recognisers: found by name, told the language, and named with the way to get them where they are missing."""

import sys
import types

import numpy as np
import pytest

from happyhorse.codecs.ear import Ear, EarConfig
from happyhorse.errors import ConfigError, MissingToolError, WeightsError
from happyhorse.evaluation import recognisers
from happyhorse.evaluation.recognisers import FoalAsr, Sphinx, Whisper, hearing, recogniser, transcripts
from happyhorse.weights.store import save_module, write_manifest


def test_each_is_asked_about_its_languages_only():
    class One:
        name, fingerprint, languages = "one", "1", ("English",)

        def transcribe(self, waveform, language):
            return f"heard {language}"

    assert transcripts(np.zeros(10), "English", [One()]) == {"one": "heard English"}
    assert transcripts(np.zeros(10), "French", [One()]) == {}


def test_sound_is_brought_to_16_khz():
    time = np.arange(24_000) / 24_000
    found = hearing(np.sin(2 * np.pi * 500 * time))
    wanted = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000)
    assert found.shape == (16_000,) and np.abs(found - wanted)[500:-500].max() < 1e-3


def test_foal_asr_is_read_from_its_folder(tmp_path):
    save_module(Ear(EarConfig(" abc", width=16, blocks=1)), tmp_path / "asr.safetensors")
    write_manifest(tmp_path, "foal-asr")
    ear = FoalAsr(tmp_path)
    assert set(ear.transcribe(np.random.default_rng(0).normal(0, 0.1, 24_000), "English")) <= set(" abc")
    (tmp_path / "asr.safetensors").write_bytes(b"damaged")
    recognisers.load_ear.cache_clear()
    with pytest.raises(WeightsError):
        FoalAsr(tmp_path)


class Hear:
    """Stands for a pipeline of transformers, and keeps what it was asked."""

    def __init__(self, *known):
        self.asked = {}
        config = types.SimpleNamespace(lang_to_id=dict.fromkeys(known, 1))
        self.model = types.SimpleNamespace(generation_config=config)

    def __call__(self, sound, generate_kwargs):
        self.asked.update(generate_kwargs, rate=sound["sampling_rate"], samples=len(sound["raw"]))
        return {"text": "你好"}


def test_whisper_is_told_the_language_and_not_to_translate(monkeypatch):
    hear = Hear("<|zh|>", "<|yue|>")
    monkeypatch.setattr(recognisers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(pipeline=lambda task, model, device: hear))
    assert recogniser("whisper:some/folder").transcribe(np.zeros(24_000), "Mandarin") == "你好"
    assert hear.asked == {"language": "chinese", "task": "transcribe", "rate": 16_000, "samples": 16_000}


def test_a_whisper_that_knows_no_cantonese_is_not_asked_about_it(monkeypatch):
    monkeypatch.setattr(recognisers.importlib.util, "find_spec", lambda name: object())
    for known, wanted in ((("<|zh|>",), False), (("<|zh|>", "<|yue|>"), True)):
        fake = types.SimpleNamespace(pipeline=lambda task, model, device, known=known: Hear(*known))
        monkeypatch.setitem(sys.modules, "transformers", fake)
        assert ("Cantonese" in Whisper().languages) == wanted and "Mandarin" in Whisper().languages


def test_weights_that_are_not_here_are_named_with_the_command_that_gets_them(monkeypatch):
    def pipeline(task, model, device):
        raise OSError("not here")

    monkeypatch.setattr(recognisers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "transformers", types.SimpleNamespace(pipeline=pipeline))
    with pytest.raises(MissingToolError, match="hf download openai/whisper-large-v3"):
        Whisper("openai/whisper-large-v3")


def test_libraries_that_are_not_here_are_named(monkeypatch):
    monkeypatch.setattr(recognisers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install pocketsphinx"):
        Sphinx()
    with pytest.raises(MissingToolError, match=r"pip install 'happyhorse\[magihuman\]'"):
        Whisper()


@pytest.mark.parametrize("name", ["pony", "foal-asr:x", "pocketsphinx:x"])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(ConfigError, match="known are foal-asr, pocketsphinx, whisper"):
        recogniser(name)
