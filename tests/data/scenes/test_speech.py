"""The speech bank and the mouth that follows it."""

from __future__ import annotations

import itertools
import math
from importlib import resources

import pytest
import safetensors.torch
import torch

from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE
from happyhorse.data.scenes.sentences import LANGUAGES, VOICES, sentences, words
from happyhorse.data.scenes.speech import (
    BANK_FILE,
    LEAD_FRAMES,
    Bank,
    mouth_curve,
    mu_law_decode,
    mu_law_encode,
    openings,
    read_safetensors,
    resample,
    sentence,
    sentence_seconds,
    speak,
)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("voice", VOICES)
def test_bank_has_every_word_spoken_clearly(language, voice):
    bank = Bank.load().words(language, voice)
    assert [word.text for word in bank] == list(words(language))
    for word in bank:
        assert 0.14 <= word.seconds <= 1.2, word.text
        assert 0.04 < float(word.waveform.square().mean().sqrt()) < 0.15, word.text
        assert float(word.waveform.abs().max()) < 0.95, word.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_phonemes_follow_each_other_through_the_word(language):
    for word in Bank.load().words(language, "man") + Bank.load().words(language, "woman"):
        assert word.phonemes[0].start == 0
        assert word.phonemes[-1].end <= word.seconds + 1e-3
        for before, after in itertools.pairwise(word.phonemes):
            assert before.start < before.end <= after.start + 1e-6
        assert any(max(openings(phoneme.symbol)) >= 0.3 for phoneme in word.phonemes), f"{word.text} has no vowel"


def test_the_woman_speaks_higher_than_the_man():
    def pitch(voice: str) -> float:
        """Hertz of the strongest echo in the diphthong of "my"."""
        wave = Bank.load().word("English", voice, "my").waveform[2000:5000]
        echo = torch.fft.irfft(torch.fft.rfft(wave, 8192).abs().square())
        lags = torch.arange(SAMPLE_RATE // 300, SAMPLE_RATE // 70)
        return SAMPLE_RATE / float(lags[echo[lags].argmax()])

    assert pitch("woman") > 1.3 * pitch("man")


def test_words_begin_on_frames_with_silence_between_them():
    spots = sentence("English", "man", "hello my friend")
    assert spots[0].start == LEAD_FRAMES / FPS
    for before, after in itertools.pairwise(spots):
        assert after.start * FPS == pytest.approx(round(after.start * FPS), abs=1e-9)
        assert 0.08 <= after.start - before.end < 0.08 + 1 / FPS


def test_every_sentence_fits_five_seconds():
    for language in LANGUAGES:
        for voice in VOICES:
            assert all(sentence_seconds(language, voice, text) < 4 for text in sentences(language))


def test_the_bank_file_is_read_as_safetensors_reads_it():
    data = resources.files("happyhorse.data.scenes").joinpath(BANK_FILE).read_bytes()
    tensors = read_safetensors(data)[1]
    expected = safetensors.torch.load(data)
    assert set(tensors) == set(expected)
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


def test_speech_is_silent_before_and_after_the_words_and_is_cut_at_the_end():
    spots = sentence("French", "woman", "bonjour")
    wave = speak(spots, 5 * SAMPLE_RATE)
    first, last = round(spots[0].start * SAMPLE_RATE), math.ceil(spots[0].end * SAMPLE_RATE)
    assert wave[:first].abs().max() == 0 and wave[last + 1 :].abs().max() == 0
    assert wave[first:last].abs().max() > 0.2
    assert torch.equal(speak(spots, first + 100), wave[: first + 100])


@pytest.mark.parametrize("language", LANGUAGES)
def test_mouth_moves_with_the_loudness_of_the_speech(language):
    for voice in VOICES:
        for text in sentences(language):
            spots = sentence(language, voice, text)
            loudness = speak(spots, 96_000).view(96, 1000).square().mean(1).sqrt()
            mouth = torch.tensor(mouth_curve(spots, 96))
            assert float(torch.corrcoef(torch.stack([mouth, loudness]))[0, 1]) > 0.7, (voice, text)


def test_mouth_is_shut_in_silence_and_wide_in_an_open_vowel():
    spots = sentence("Japanese", "woman", "花が好きです")
    curve = mouth_curve(spots, 121)
    assert max(curve[: LEAD_FRAMES - 2]) == 0 and max(curve[100:]) == 0
    vowel = next(phoneme for phoneme in spots[0].word.phonemes if openings(phoneme.symbol) == (1.0,))
    middle = int((spots[0].start + (vowel.start + vowel.end) / 2) * FPS)
    assert curve[middle] > 0.6
    assert all(0 <= opening <= 1 for opening in curve)


def test_openings_by_class_of_sound():
    assert openings("a") == (1.0,) and openings("m") == (0.0,) and openings("k") == (0.15,)
    assert openings("aɪ") == (1.0, 0.4)
    assert openings("u")[0] < openings("i")[0] < openings("e")[0] < openings("ɑː")[0]


def test_mu_law_keeps_forty_decibels_less_a_little():
    tone = 0.5 * torch.sin(torch.arange(8000) * 0.3)
    error = mu_law_decode(mu_law_encode(tone)) - tone
    assert 10 * torch.log10(tone.square().mean() / error.square().mean()) > 35


def test_resampling_a_tone_gives_the_tone_at_the_new_rate():
    def tone(rate: int) -> torch.Tensor:
        time = torch.arange(rate // 2, dtype=torch.float64) / rate
        return (torch.sin(2 * math.pi * 440 * time) * torch.sin(2 * math.pi * time).square()).float()

    assert resample(tone(22_050), 22_050, 16_000) == pytest.approx(tone(16_000), abs=2e-3)
    assert resample(tone(16_000), 16_000, 24_000) == pytest.approx(tone(24_000), abs=2e-3)
