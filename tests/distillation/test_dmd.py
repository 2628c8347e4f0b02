"""The maths of distribution matching against closed forms and the published form of the gradient."""

import pytest
import torch

from happyhorse.distillation.dmd import draw_times, fake_loss, gradient, masked_mean, matching_loss, renoise
from happyhorse.flow import path
from happyhorse.types import Known, Latents


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("t", [0.02, 0.3, 0.98])
def test_the_velocity_form_is_the_published_one(t):
    data, noise, real, fake = (normal(3, 5, 7, seed=seed) for seed in range(4))
    x = path.noisy(data, noise, t)
    data_real, data_fake = path.data_from_velocity(x, real, t), path.data_from_velocity(x, fake, t)
    size = (data - data_real).abs().mean(dim=(1, 2), keepdim=True)
    published = (data_fake - data_real) / size
    found = gradient(real, fake, path.velocity(data, noise), torch.ones(3, 1, 1), floor=0)
    torch.testing.assert_close(found.double(), published, rtol=1e-5, atol=1e-6)


def test_there_is_nothing_to_learn_where_the_scores_agree():
    real = normal(2, 8)
    assert not gradient(real, real, normal(2, 8, seed=1), torch.ones(2, 1), floor=1e-3).any()


def test_each_sample_is_measured_by_itself_and_never_by_less_than_the_floor():
    real, fake = torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.zeros(2, 2)
    target = torch.tensor([[0.0, 0.0], [1.0, 3.0]])  # the second is predicted exactly
    found = gradient(real, fake, target, torch.ones(2, 1), floor=0.1)
    torch.testing.assert_close(found, torch.tensor([[0.5, 1.5], [10.0, 30.0]]))


def test_what_was_given_neither_moves_nor_counts():
    real, target, unknown = torch.tensor([[2.0, 9.0]]), torch.tensor([[1.0, -99.0]]), torch.tensor([[1.0, 0.0]])
    found = gradient(real, torch.zeros(1, 2), target, unknown, floor=0.1)
    torch.testing.assert_close(found, torch.tensor([[2.0, 0.0]]))
    assert fake_loss(real, target, unknown).tolist() == [1.0]
    assert masked_mean(real, torch.zeros(1, 2)).tolist() == [0.0]


def test_the_loss_has_the_direction_as_its_gradient():
    data, direction = normal(2, 6).requires_grad_(), normal(2, 6, seed=1)
    matching_loss(data, direction).sum().backward()
    torch.testing.assert_close(data.grad, direction / 6)


def test_renoising_keeps_what_is_known_clean():
    data, noise = (Latents(normal(2, 3, 4, 2, 2, seed=seed), normal(2, 4, 5, seed=seed + 1)) for seed in (0, 2))
    known = Known(data, torch.tensor([[True, False, False, False]] * 2), torch.zeros(2, 4, dtype=torch.bool))
    times = torch.tensor([0.25, 0.75], dtype=torch.float64)
    found = renoise(data, noise, times, known)
    assert torch.equal(found.noisy.video[:, :, 0], data.video[:, :, 0])
    torch.testing.assert_close(found.noisy.audio[1], 0.25 * data.audio[1] + 0.75 * noise.audio[1])
    assert found.unknown.video[:, 0, :, 0, 0].tolist() == [[0, 1, 1, 1]] * 2
    assert torch.equal(found.target.audio, noise.audio - data.audio)
    assert torch.equal(renoise(data, noise, times).unknown.audio, torch.ones(2, 1, 1))


def test_levels_lie_between_the_ends_and_mostly_near_noise():
    times = draw_times(4000, 5.0, 0.02, 0.98, torch.Generator().manual_seed(0))
    assert times.min() >= 0.02 and times.max() <= 0.98
    assert (times > 0.5).float().mean() == pytest.approx(5 / 6, abs=0.02)
