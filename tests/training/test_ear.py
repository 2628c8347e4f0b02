"""What the recogniser is trained on, and a short run of it."""

from __future__ import annotations

import random

import pytest
import torch

from happyhorse.codecs import mel
from happyhorse.codecs.ear import Ear, EarConfig, spelled
from happyhorse.data.scenes.sentences import LANGUAGES, held_out_sentences, sentence_words, sentences
from happyhorse.recipes.ear import foal_asr, foal_asr_tiny
from happyhorse.training.ear import FILE, alphabet, ear_loss, noisy, roughened, saying, script, train_ear
from happyhorse.training.run import find_codecs
from happyhorse.weights.store import load_config, load_module


@pytest.fixture(scope="module")
def audio():
    return find_codecs(None, torch.device("cpu")).audio


def test_all_sentences_can_be_spelled():
    letters = set(alphabet())
    assert " " in letters
    assert all(set(spelled(text)) <= letters for language in LANGUAGES for text in sentences(language))


def test_held_out_sentences_are_never_said():
    rng = random.Random(0)
    for language in LANGUAGES:
        secret = {sentence_words(language)[text] for text in held_out_sentences(language)}
        scripts = [script(language, foal_asr(), rng) for _ in range(2000)]
        assert not secret & set(scripts)
        assert {len(words) for words in scripts} >= {1, 2, 3, 4, 5}
        spoken = {word for words in scripts for word in words}
        assert spoken >= {word for words in secret for word in words}, "their words are"


def test_a_saying_sounds_as_long_as_it_is_written():
    rng, recipe = random.Random(1), foal_asr()
    sayings = [saying(recipe, rng) for _ in range(60)]
    assert {len(wave) for wave, _ in sayings} == {84_000}
    for wave, text in sayings:
        assert (wave.abs().max() > 0.1) == bool(text)
    letters = torch.tensor([float(len(text)) for _, text in sayings])
    sounding = torch.tensor([float((wave.abs() > 0.01).sum()) for wave, _ in sayings])
    assert torch.corrcoef(torch.stack([letters, sounding]))[0, 1] > 0.4


def test_noise_is_far_below_speech_and_the_codec_is_heard_in_every_other_clip(audio):
    generator = torch.Generator().manual_seed(0)
    waves = 0.3 * torch.sin(torch.arange(24_000) / 9.0).repeat(4, 1)
    levels = noisy(waves, generator).square().mean(dim=1).sqrt() / waves.square().mean(dim=1).sqrt()
    assert ((levels > 0.2) & (levels < 1.5)).all() and levels.unique().numel() == 4
    clean = mel.log_mel(waves)
    rough = roughened(clean, audio, generator)
    assert torch.equal(rough[1::2], clean[1::2])
    assert all(0.01 < (rough[row] - clean[row]).abs().mean() < 1 for row in (0, 2))


def test_the_loss_of_a_step_depends_on_the_generator_alone(audio):
    torch.manual_seed(0)
    ear, recipe = Ear(EarConfig(alphabet(), 16, 1)), foal_asr_tiny()
    first, again, other = (ear_loss(ear, audio, recipe, torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.isfinite(first) and first > 0


def test_a_run_writes_a_recogniser_that_can_be_loaded(tmp_path):
    said: list[str] = []
    assert train_ear(foal_asr_tiny(), tmp_path, report=said.append) == 0
    ear = Ear(load_config(EarConfig, tmp_path / FILE))
    load_module(ear, tmp_path / FILE)
    assert ear.config.letters == alphabet()
    assert "step 3/3" in said[-2] and str(tmp_path / FILE) in said[-1]
