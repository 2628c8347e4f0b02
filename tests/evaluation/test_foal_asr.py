"""The recogniser that comes with the package hears real bank speech: sentences that it was never trained on, too."""

import numpy as np
import pytest

from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.sentences import LANGUAGES, SPACELESS, held_out_sentences, sentences
from happyhorse.data.scenes.world import FAMILIES, render, sample_plan
from happyhorse.evaluation.recognisers import FoalAsr
from happyhorse.evaluation.transcripts import counted_errors


def scenes(language, chosen):
    """Waveforms of talkers, both voices, that say each of the chosen sentences."""
    for number, text in enumerate(chosen):
        for voice in ("man", "woman"):
            plan = sample_plan(800_000_000 + number, 5.0, family="talker")
            asked = {**plan.attributes, "language": language, "sentence": text, "voice": voice}
            plan = FAMILIES["talker"].plan(plan.seed, 5.0, asked)
            yield text, render([plan], Canvas(120, 32, 32))[1][0].numpy()


@pytest.mark.parametrize("held_out", [False, True])
def test_it_makes_at_most_three_errors_in_a_hundred_units(held_out):
    ear, wrong, units = FoalAsr(), 0, 0
    for language in LANGUAGES:
        secret = held_out_sentences(language)
        chosen = [text for text in sentences(language) if (text in secret) == held_out]
        for text, waveform in scenes(language, chosen):
            unit = "characters" if language in SPACELESS else "words"
            errors = counted_errors(language, text, ear.transcribe(waveform, language))[unit]
            wrong, units = wrong + errors.wrong, units + errors.units
    assert units > 100 and wrong / units <= 0.03


def test_it_hears_nothing_in_silence_and_in_noise():
    ear = FoalAsr()
    for sound in (np.zeros(120_000), 0.01 * np.random.default_rng(0).normal(size=120_000)):
        assert ear.transcribe(sound, "English") == ""
