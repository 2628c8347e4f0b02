import math

import numpy as np
import pytest

from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.evaluation.sync import OnsetDetector, band_filters, match, parabolic

EDGE = 2 / 24


def clicks(times, seconds=3.0, hiss=1e-3):
    rng = np.random.default_rng(0)
    sound = hiss * rng.standard_normal(round(seconds * 24_000))
    burst = rng.standard_normal(1200) * np.exp(-np.arange(1200) / 300)
    for time in times:
        first = round(time * 24_000)
        sound[first : first + 1200] += 0.3 * burst
    return sound


def test_three_onsets_at_one_event_make_one_pair():
    found = match([1.0], [0.98, 1.0, 1.02])
    assert (found.recall, found.precision) == (1.0, pytest.approx(1 / 3))
    assert found.offsets == (0.0,)


def test_as_many_pairs_as_possible_before_the_nearest():
    # The nearest pair (1.04, 1.03) would leave the other two alone.
    found = match([1.0, 1.04], [1.03, 1.075], tolerance=0.04)
    assert found.offsets == pytest.approx((0.03, 0.035))


def test_offsets_are_positive_when_the_sound_is_late():
    assert match([1.0, 2.0], [1.02, 1.99]).offsets == pytest.approx((0.02, -0.01))


def test_what_lies_outside_of_the_span_counts_only_if_it_is_paired():
    found = match([0.01, 0.05, 1.0], [0.05, 1.0, 1.98], span=(0.1, 1.9))
    assert (found.events, found.onsets, len(found.offsets)) == (2, 2, 2)


def test_nothing_to_match_has_no_score():
    assert math.isnan(match([], []).f1)
    assert match([1.0], []).f1 == 0


@pytest.mark.parametrize("hiss", [1e-4, 1e-2])
def test_clicks_are_heard_where_they_are(hiss):
    times = [0.3, 0.75, 1.4, 2.2]
    heard = OnsetDetector()(clicks(times, hiss=hiss))
    assert len(heard) == len(times)
    assert np.abs(heard - times).max() < 0.005


def test_louder_sound_gives_the_same_onsets():
    sound = clicks([0.5, 1.5])
    assert OnsetDetector()(sound) == pytest.approx(OnsetDetector()(3 * sound), abs=1e-9)


def test_silence_and_steady_tones_have_no_onsets():
    detector = OnsetDetector()
    assert len(detector(np.zeros(48_000))) == 0
    assert len(detector(0.1 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000))) == 0


@pytest.mark.parametrize("family", ["ball", "horse", "walker"])
def test_onsets_of_real_scenes_are_their_events(family):
    plans = [sample_plan(seed, 3.0, "train", family) for seed in range(12)]
    sound = FAMILIES[family].sound(plans, 72_000, "cpu").numpy()
    found = [
        match(plan.truth.events, OnsetDetector()(wave), tolerance=0.01, span=(EDGE, 3 - EDGE))
        for plan, wave in zip(plans, sound, strict=True)
    ]
    assert sum(one.events for one in found) >= 30
    assert min(one.recall for one in found) == 1
    assert min(one.precision for one in found) == 1


def test_every_band_hears_something():
    assert (band_filters(512, 24).sum(axis=0) > 0).all()


def test_vertex_of_a_parabola():
    values = -((np.arange(5) - 2.3) ** 2)
    assert parabolic(values, 2) == pytest.approx(0.3)
    assert parabolic(values, 0) == 0
