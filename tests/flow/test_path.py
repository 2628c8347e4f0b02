import pytest
import torch

from happyhorse.flow import path


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, dtype=torch.float64), torch.randn(3, 4, 5, dtype=torch.float64)


@pytest.mark.parametrize("t", [0.02, 0.5, 0.98, torch.tensor([0.1, 0.5, 0.9]).double()])
def test_conversions_come_back(t):
    data, noise = pair()
    x, v = path.noisy(data, noise, t), path.velocity(data, noise)
    assert torch.allclose(path.data_from_velocity(x, v, t), data)
    assert torch.allclose(path.noise_from_velocity(x, v, t), noise)
    assert torch.allclose(path.velocity_from_data(x, data, t), v)


def test_ends_of_the_path():
    data, noise = pair()
    assert torch.equal(path.noisy(data, noise, 0.0), data)
    assert torch.equal(path.noisy(data, noise, 1.0), noise)


def test_a_step_moves_along_the_path_exactly():
    data, noise = pair()
    x, v = path.noisy(data, noise, 0.8), path.velocity(data, noise)
    assert torch.allclose(path.step(x, v, 0.8, 0.3), path.noisy(data, noise, 0.3))


def test_score_of_a_gaussian():
    """Data N(0, s^2): x_t has variance (1-t)^2 s^2 + t^2 and score -x / variance."""
    x, t, s = torch.linspace(-3, 3, 7, dtype=torch.float64), 0.4, 1.7
    variance = (1 - t) ** 2 * s**2 + t**2
    v = (t - (1 - t) * s**2) / variance * x
    assert torch.allclose(path.score(x, v, t), -x / variance)


def test_levels_of_samples_do_not_mix():
    data, noise = pair()
    mixed = path.noisy(data, noise, torch.tensor([0.0, 1.0, 0.5]).double())
    assert torch.equal(mixed[0], data[0]) and torch.equal(mixed[1], noise[1])


def test_half_precision_inputs_are_computed_in_float32():
    data, noise = (x.bfloat16() for x in pair())
    assert path.noisy(data, noise, 0.3).dtype == torch.float32
