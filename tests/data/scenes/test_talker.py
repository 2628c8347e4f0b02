"""The talker family: plans, prompts, held-out talkers, and sound that starts when the truth says so."""

from __future__ import annotations

import random

import pytest
import torch

from happyhorse.data.scenes.catalogue import vary
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE, Canvas
from happyhorse.data.scenes.sentences import held_out_sentences, said_words, sentences
from happyhorse.data.scenes.talker import FAMILY, HELD_OUT_LOOKS, HELD_OUT_TEMPLATES, LOOSE, TEMPLATES
from happyhorse.errors import ConfigError

WOMAN = {
    "voice": "woman",
    "skin": "brown",
    "hair": "red",
    "background": "blue",
    "language": "French",
    "sentence": "bonjour les amis",
}


def test_a_plan_is_the_same_for_the_same_seed_only():
    assert FAMILY.plan(3, 5, WOMAN) == FAMILY.plan(3, 5, WOMAN)
    assert FAMILY.plan(3, 5, WOMAN).motion != FAMILY.plan(4, 5, WOMAN).motion


def test_truth_covers_the_padded_frames_and_names_the_words():
    plan = FAMILY.plan(1, 5, WOMAN)
    assert len(plan.truth.mouth) == 121
    assert [word for word, _, _ in plan.truth.words] == ["bonjour", "les", "amis"]
    assert len(FAMILY.plan(1, 1, WOMAN).truth.mouth) == 25


def test_sound_starts_and_ends_with_the_words():
    plan = FAMILY.plan(2, 5, WOMAN)
    wave = FAMILY.sound([plan], 5 * SAMPLE_RATE, "cpu")[0]
    first, last = round(plan.truth.words[0][1] * SAMPLE_RATE), round(plan.truth.words[-1][2] * SAMPLE_RATE)
    assert wave[:first].abs().max() < 0.01 and wave[last + 10 :].abs().max() < 0.01
    assert wave[first : first + 2400].abs().max() > 0.1
    assert wave.abs().max() < 1


def test_a_batch_sounds_and_looks_like_its_single_talkers():
    man = WOMAN | {"voice": "man", "language": "German", "sentence": "der rote Ball"}
    plans = [FAMILY.plan(5, 2, WOMAN), FAMILY.plan(6, 2, man), FAMILY.plan(7, 2, WOMAN | {"hair": "grey"})]
    canvas = Canvas(9, 64, 64)
    sound, frames = FAMILY.sound(plans, 48_000, "cpu"), FAMILY.draw(plans, canvas)
    for row, plan in enumerate(plans):
        assert torch.equal(FAMILY.sound([plan], 48_000, "cpu")[0], sound[row])
        assert torch.allclose(FAMILY.draw([plan], canvas)[0], frames[row], atol=1e-5)


def test_a_mouth_in_the_picture_opens_and_shuts_with_the_speech():
    plan = FAMILY.plan(8, 5, WOMAN)
    frames = FAMILY.draw([plan], Canvas(120, 64, 64))[0]
    dark = (frames.amax(0)[:, 38:54, 20:44] < 0.35).float().sum((1, 2))
    loudness = FAMILY.sound([plan], 120_000, "cpu")[0].view(120, 1000).square().mean(1).sqrt()
    assert float(torch.corrcoef(torch.stack([dark, loudness]))[0, 1]) > 0.7


@pytest.mark.parametrize("template", [*TEMPLATES, *HELD_OUT_TEMPLATES])
def test_every_template_names_every_attribute(template):
    for seed in range(20):
        said = vary(template, random.Random(seed)).format_map(WOMAN)
        assert all(value in said for value in WOMAN.values())
        assert '"bonjour les amis"' in said


def test_paraphrases_are_many_and_held_out_ones_are_apart():
    rng = random.Random(0)
    assert len(TEMPLATES) >= 8 and len(HELD_OUT_TEMPLATES) >= 2
    trained = {FAMILY.prompt(WOMAN, rng) for _ in range(500)}
    unseen = {FAMILY.held_out_prompt(WOMAN, rng) for _ in range(50)}
    assert len(trained) > len(TEMPLATES) and not trained & unseen


def test_choices_for_training_hold_nothing_out_and_cover_every_value():
    rng = random.Random(1)
    chosen = [FAMILY.choose(rng, held_out=False, seconds=5) for _ in range(1500)]
    assert not any(FAMILY.held_out(attributes) for attributes in chosen)
    for key in ("voice", "skin", "hair", "background", "language"):
        assert {attributes[key] for attributes in chosen} == set(FAMILY.attributes[key])
    said = {(attributes["language"], attributes["sentence"]) for attributes in chosen}
    assert len(said) == 7 * 13


def test_loose_talkers_say_words_in_any_order_that_fit_and_are_never_held_out():
    rng = random.Random(1)
    chosen = [LOOSE.choose(rng, held_out=False, seconds=3) for _ in range(1500)]
    assert not any(FAMILY.held_out(attributes) for attributes in chosen)
    assert all(FAMILY.fits(attributes, 3) for attributes in chosen)
    new = [attributes for attributes in chosen if attributes["sentence"] not in FAMILY.attributes["sentence"]]
    assert 0.5 < len(new) / len(chosen) < 0.65
    assert FAMILY.plan(1, 3, new[0]).truth.words[0][0] == said_words(new[0]["language"], new[0]["sentence"])[0]


def test_held_out_choices_are_new_sentences_or_new_looks():
    rng = random.Random(2)
    chosen = [FAMILY.choose(rng, held_out=True, seconds=5) for _ in range(200)]
    assert all(FAMILY.held_out(attributes) for attributes in chosen)
    new_looks = [(attributes["hair"], attributes["background"]) in HELD_OUT_LOOKS for attributes in chosen]
    assert 60 < sum(new_looks) < 140
    for attributes, new_look in zip(chosen, new_looks, strict=True):
        assert new_look != (attributes["sentence"] in held_out_sentences(attributes["language"]))


def test_short_clips_get_sentences_that_fit():
    rng = random.Random(3)
    for held_out in (False, True):
        chosen = [FAMILY.choose(rng, held_out, seconds=2) for _ in range(200)]
        assert sum(FAMILY.fits(attributes, 2) for attributes in chosen) > 180
    assert not FAMILY.fits(WOMAN, 0.5)


def test_a_sentence_of_another_language_is_refused_with_the_ones_that_are_known():
    with pytest.raises(ConfigError, match="not a sentence in German.*guten Morgen"):
        FAMILY.plan(1, 5, WOMAN | {"language": "German"})
    with pytest.raises(ConfigError, match="hair green.*blond"):
        FAMILY.plan(1, 5, WOMAN | {"hair": "green"})
    with pytest.raises(ConfigError, match="described by"):
        FAMILY.plan(1, 5, {"hair": "red"})


def test_sentences_attribute_lists_all_languages():
    assert set(sentences("Korean")) | set(sentences("Cantonese")) <= set(FAMILY.attributes["sentence"])


def test_speech_begins_after_ten_or_eleven_frames():
    leads = {round(FAMILY.plan(seed, 5, WOMAN).truth.words[0][1] * FPS) for seed in range(20)}
    assert leads == {10, 11}
