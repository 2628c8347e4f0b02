"""Fréchet distances against their closed form, and features of real scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.world import render, sample_plan
from happyhorse.evaluation.fidelity import (
    frechet_distance,
    frechet_interval,
    lufs,
    picture_features,
    sound_features,
    spread,
    ssim,
)
from happyhorse.training.run import find_codecs


def gaussian(count: int, mean: np.ndarray, scale: np.ndarray, seed: int) -> np.ndarray:
    """Samples whose mean and covariance are exactly those asked for."""
    values = np.random.default_rng(seed).standard_normal((count, len(mean)))
    values -= values.mean(axis=0)
    values = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T
    return values * scale + mean


def test_the_distance_of_axis_aligned_gaussians_is_their_closed_form():
    one = gaussian(400, np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.5]), 0)
    other = gaussian(300, np.array([1.0, 1.0, 0.0]), np.array([3.0, 2.0, 1.0]), 1)
    assert frechet_distance(one, other) == pytest.approx((1 + 0 + 4) + (4 + 0 + 0.25))
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_distance_does_not_change_under_a_rotation():
    rng = np.random.default_rng(2)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    one, other = rng.standard_normal((200, 3)), rng.standard_normal((150, 3)) @ np.diag([1, 2, 3]) + 1
    assert frechet_distance(one @ turn, other @ turn) == pytest.approx(frechet_distance(one, other))


def clips_of(count: int, mean: float, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.standard_normal((20, 4)) + rng.standard_normal(4) + mean for _ in range(count)]


def test_the_interval_holds_the_distance_and_narrows_with_more_clips():
    rng = np.random.default_rng(3)
    few, many = (frechet_interval(clips_of(count, 0, rng), clips_of(count, 1, rng)) for count in (20, 320))
    assert all(low < distance < high for distance, low, high in (few, many))
    assert many[2] - many[1] < few[2] - few[1]


def test_nine_of_ten_intervals_hold_what_other_draws_come_to():
    rng = np.random.default_rng(4)
    found = [frechet_interval(clips_of(60, 0, rng), clips_of(60, 1, rng)) for _ in range(60)]
    middle = np.mean([distance for distance, _, _ in found])
    assert np.mean([low <= middle <= high for _, low, high in found]) >= 0.85


def test_clips_that_are_alike_have_no_spread():
    clip = np.ones((5, 2))
    assert spread([clip, clip]) == 0
    assert spread([clip, clip + np.array([3.0, 4.0]), clip]) == pytest.approx(10 / 3)


def test_other_families_are_further_off_than_other_scenes_of_the_same():
    codecs = find_codecs(None, torch.device("cpu"))

    def features(family: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        plans = [sample_plan(seed + index, 1.5, family=family) for index in range(6)]
        frames, waves = render(plans, Canvas(36, 64, 64))
        pictures = (frames * 255).to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
        seen = np.concatenate([picture_features(codecs, clip) for clip in pictures])
        return seen, np.concatenate([sound_features(codecs, wave.numpy()) for wave in waves])

    (seen, heard), (seen_again, heard_again), (rained, rustled) = (
        features("ball", 0),
        features("ball", 100),
        features("weather", 0),
    )
    assert seen.shape == (6 * 9, 96) and heard.shape == (6 * 6, 128)
    assert frechet_distance(seen, seen_again) < 0.5 * frechet_distance(seen, rained)
    assert frechet_distance(heard, heard_again) < frechet_distance(heard, rustled)


def test_a_picture_is_like_itself_and_unlike_noise():
    rng = np.random.default_rng(0)
    picture = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    assert ssim(picture, picture) == 1
    assert ssim(picture, rng.integers(0, 256, picture.shape, np.uint8)) < 0.3


def test_loudness_is_that_of_the_standard():
    tone = np.sin(2 * np.pi * 997 * np.arange(3 * 24_000) / 24_000)
    assert lufs(tone) == pytest.approx(-3.01, abs=0.1), "a full-scale 997 Hz sine in one channel, BS.1770-4"
    assert lufs(tone / 10) == pytest.approx(-23.01, abs=0.1)
    assert lufs(np.zeros(24_000)) == lufs(tone[:100]) == -70
