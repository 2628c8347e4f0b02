import numpy as np
import pytest
import torch

from happyhorse.evaluation.adherence import cells, fit_probe, picture_features, sound_features


def noise(count, width, seed):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_a_probe_finds_the_one_feature_that_tells():
    labels = ["low", "high"] * 40
    features = noise(80, 300, 0)
    features[:, 7] += torch.tensor([-4.0, 4.0]).repeat(40)
    probe = fit_probe(features, labels, ("low", "high"))
    fresh = noise(60, 300, 1)
    fresh[:, 7] += torch.tensor([-4.0, 4.0]).repeat(30)
    right = [seen == label for seen, label in zip(probe(fresh), labels, strict=False)]
    assert np.mean(right) > 0.95


def test_a_probe_is_the_same_every_time():
    features, labels = noise(30, 50, 2), ["a", "b", "c"] * 10
    first, second = (fit_probe(features, labels, ("a", "b", "c")) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_a_probe_is_the_minimum_of_its_loss():
    features, labels = noise(40, 8, 3), ["a", "b"] * 20
    probe = fit_probe(features, labels, ("a", "b"))
    # At the minimum the bias has no gradient: as much of each class is expected as there is.
    share = ((features - probe.mean) @ probe.weight.T + probe.bias).softmax(dim=1).mean(dim=0)
    assert share.tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


def test_cells_see_the_central_square_in_any_shape():
    square = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), np.uint8)
    wide = np.zeros((3, 96, 160, 3), np.uint8)
    wide[:, :, 32:128] = square
    assert torch.equal(cells(wide, 16), cells(square, 16))
    assert torch.equal(cells(np.ascontiguousarray(wide.swapaxes(1, 2)), 16), cells(square.swapaxes(1, 2), 16))


def test_picture_features_are_means_and_deviations():
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    frames[1] = 255
    features = picture_features(frames)
    assert features[:768] == pytest.approx(0.5)
    assert features[768:] == pytest.approx(0.5**0.5)


def test_sound_features_tell_low_from_high():
    seconds = np.arange(24_000) / 24_000
    low, high = (sound_features(np.sin(2 * np.pi * hertz * seconds).astype(np.float32)) for hertz in (200, 5000))
    assert low[:20].mean() > high[:20].mean()
    assert low[50:65].mean() < high[50:65].mean()
    assert len(low) == 160
