"""Building the bank: trimming and levels by themselves; the synthesiser only where it is installed."""

from __future__ import annotations

import ctypes.util
import json

import pytest
import torch
from safetensors import safe_open

from happyhorse.data.scenes import bank_build
from happyhorse.data.scenes.bank_build import Espeak, Spoken, level, main, trim, write
from happyhorse.errors import MissingToolError, OutputError

needs_espeak = pytest.mark.skipif(ctypes.util.find_library("espeak-ng") is None, reason="espeak-ng is not installed")


def test_trimming_moves_the_phonemes_with_the_sound():
    samples = torch.zeros(1000)
    samples[200:700] = 0.5
    word, phonemes = trim(Spoken(samples, 1000, [("h", 150), ("a", 400), ("", 700), ("", 900)]))
    assert len(word) == 500
    assert [tuple(phoneme) for phoneme in phonemes] == [("h", 0.0, 0.2), ("a", 0.2, 0.5)]


def test_words_are_equally_loud_and_end_softly():
    quiet, loud = (
        torch.randn(4000, generator=torch.Generator().manual_seed(1)) * 0.01,
        torch.sin(torch.arange(4000) * 0.1),
    )
    for word in (level(quiet, 22_050), level(loud, 22_050)):
        assert float(word.square().mean().sqrt()) == pytest.approx(bank_build.LOUDNESS, rel=0.05)
        assert float(word[0]) == 0 and float(word[-1]) == 0


def test_a_missing_synthesiser_is_named_with_the_way_to_get_it(monkeypatch, capsys, tmp_path):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(bank_build.ctypes, "CDLL", absent)
    with pytest.raises(MissingToolError, match="apt-get install espeak-ng"):
        Espeak()
    assert main([str(tmp_path / "bank.safetensors")]) == 2
    assert "espeak-ng" in capsys.readouterr().err


def test_the_bank_is_written_whole_or_not_at_all(tmp_path):
    tensors = {"samples": torch.zeros(4, dtype=torch.uint8), "bounds": torch.tensor([0, 4])}
    write(tmp_path / "bank.safetensors", tensors, [{"word": "你好"}])
    assert [path.name for path in tmp_path.iterdir()] == ["bank.safetensors"]
    with safe_open(tmp_path / "bank.safetensors", "pt") as file:
        assert json.loads(file.metadata()["words"])[0]["word"] == "你好"
    with pytest.raises(OutputError, match="nowhere"):
        write(tmp_path / "nowhere" / "bank.safetensors", tensors, [])


@needs_espeak
def test_espeak_tells_when_each_phoneme_begins():
    spoken = Espeak().say("bonjour", "fr+f2")
    named = [(symbol, at) for symbol, at in spoken.marks if symbol]
    assert [symbol for symbol, _ in named] == ["b", "ɔ̃", "ʒ", "u", "ʁ"]
    times = [at for _, at in named]
    assert times == sorted(times) and times[-1] < len(spoken.samples)


@needs_espeak
def test_a_voice_that_does_not_exist_is_named():
    with pytest.raises(MissingToolError, match="no voice nowhere-land"):
        Espeak().say("hello", "nowhere-land")
