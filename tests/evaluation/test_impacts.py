import numpy as np
import pytest

from happyhorse.data.scenes.world import sample_plan
from happyhorse.evaluation.impacts import ball_depth, ball_impacts, impacts_of
from happyhorse.evaluation.instruments import real_clips
from happyhorse.evaluation.sync import match


def flight(first, period, frames=72, height=0.5):
    since = np.mod(np.arange(frames) / 24 - first, period)
    return 0.8 - height * 4 * since * (period - since) / period**2


@pytest.mark.parametrize("first", [0.4, 0.41, 0.42, 0.43])
def test_the_tip_is_found_between_frames(first):
    found = impacts_of(flight(first, 0.6))
    assert found == pytest.approx(first + 0.6 * np.arange(len(found)), abs=0.001)
    assert len(found) == 5


def test_small_ripples_are_no_impacts():
    ripple = 0.01 * np.sin(np.arange(72))
    assert len(impacts_of(ripple)) == 0
    assert len(impacts_of(flight(0.4, 0.6) + ripple / 10)) == 5


def test_a_still_picture_shows_no_impacts():
    still = np.full((24, 64, 64, 3), 120, np.uint8)
    still[:, 20:30, 20:30] = 200
    assert len(ball_impacts(still)) == 0


def test_impacts_of_real_scenes_are_their_truth():
    plans = [sample_plan(seed, 3.0, "held_out" if seed % 4 == 3 else "train", "ball") for seed in range(12)]
    found = [
        match(plan.truth.events, ball_impacts(frames), tolerance=0.01, span=(2 / 24, 3 - 2 / 24))
        for plan, (frames, _) in zip(plans, real_clips(plans, 64), strict=True)
    ]
    assert sum(one.events for one in found) >= 30
    assert sum(len(one.offsets) for one in found) >= 0.98 * sum(one.events for one in found)
    assert sum(len(one.offsets) for one in found) >= 0.98 * sum(one.onsets for one in found)


def test_the_depth_follows_the_ball_and_not_its_shadow():
    plan = sample_plan(3, 3.0, "train", "ball")
    (frames, _), *_ = real_clips([plan], 64)
    since = np.mod(np.arange(len(frames)) / 24 - plan.motion["first"], plan.motion["period"])
    height = since * (plan.motion["period"] - since)
    assert np.corrcoef(ball_depth(frames), -height)[0, 1] > 0.99
