import itertools

import numpy as np
import pytest

from happyhorse.data.scenes.world import sample_plan
from happyhorse.evaluation.instruments import real_clips
from happyhorse.evaluation.lips import best_lag, lip_sync, mouth_opening, speech_envelope


@pytest.fixture(scope="module")
def talkers():
    plans = [sample_plan(seed, 5.0, "held_out" if seed % 3 == 2 else "train", "talker") for seed in range(9)]
    return [(plan, *clip) for plan, clip in zip(plans, real_clips(plans, 64), strict=True)]


def test_the_opening_seen_is_the_true_one(talkers):
    for plan, frames, _ in talkers:
        assert np.corrcoef(mouth_opening(frames), plan.truth.mouth[: len(frames)])[0, 1] > 0.95


def test_real_mouths_follow_their_voices(talkers):
    found = [lip_sync(frames, sound) for _, frames, sound in talkers]
    assert min(one.correlation for one in found) > 0.8
    assert max(abs(one.lag) for one in found) <= 1


def test_late_sound_has_a_positive_lag(talkers):
    _, frames, sound = talkers[0]
    here = lip_sync(frames, sound).lag
    late = np.concatenate([np.zeros(2000, sound.dtype), sound[:-2000]])
    assert lip_sync(frames, late).lag == here + 2


def test_another_voice_does_not_fit(talkers):
    correlations = [
        lip_sync(frames, other).correlation
        for (plan, frames, _), (stranger, _, other) in itertools.pairwise(talkers)
        if plan.attributes["sentence"] != stranger.attributes["sentence"]
    ]
    own = [lip_sync(frames, sound).correlation for _, frames, sound in talkers]
    assert np.mean(correlations) < np.mean(own) - 0.15


def test_a_mouth_at_rest_follows_nothing(talkers):
    _, frames, sound = talkers[0]
    assert lip_sync(np.repeat(frames[:1], len(frames), axis=0), sound).correlation == 0


def test_best_lag_finds_a_shift():
    curve = np.random.default_rng(0).standard_normal(60)
    found = best_lag(curve, np.roll(curve, -2))
    assert found.lag == -2
    assert found.correlation == pytest.approx(1)
    assert best_lag(curve, np.roll(curve, -2), within=1).correlation < 0.6


def test_the_envelope_is_the_level_of_each_frame():
    sound = np.repeat([0.0, 0.5, 0.5, 0.5, 0.0], 1000)
    assert speech_envelope(sound, 6) == pytest.approx([0.125, 0.375, 0.5, 0.375, 0.125, 0])
