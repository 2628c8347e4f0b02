import numpy as np
import pytest
import torch

from happyhorse.data.scenes.world import sample_plan
from happyhorse.evaluation.gait import bumps, fit_steps, motion
from happyhorse.evaluation.instruments import real_clips
from happyhorse.evaluation.sync import match


@pytest.fixture(scope="module")
def fitted():
    plans = [sample_plan(seed, 2.5, "held_out" if seed % 6 == 5 else "train", "walker") for seed in range(56)]
    clips = [frames for frames, _ in real_clips(plans, 48)]
    detector = fit_steps([motion(frames) for frames in clips[:40]], [plan.truth.events for plan in plans[:40]])
    return detector, list(zip(plans, clips, strict=True))[40:]


def test_steps_of_unseen_scenes_are_found_within_10_ms(fitted):
    detector, scenes = fitted
    found = [match(plan.truth.events, detector(frames), 0.01, (2 / 24, 2.5 - 2 / 24)) for plan, frames in scenes]
    pairs = sum(len(one.offsets) for one in found)
    assert pairs >= 0.95 * sum(one.events for one in found)
    assert pairs >= 0.95 * sum(one.onsets for one in found)


def test_a_frozen_walker_makes_no_steps(fitted):
    detector, scenes = fitted
    frames = scenes[0][1]
    assert len(detector(np.repeat(frames[5:6], len(frames), axis=0))) == 0


def test_bumps_peak_at_their_times():
    curve = bumps([1.0, 2.0], 72)
    assert torch.topk(curve, 2).indices.sort().values.tolist() == [24, 48]
    assert curve.max() == pytest.approx(1)
