"""The law of the noise levels."""

import torch

from happyhorse.recipes.recipe import NoiseLaw
from happyhorse.training.noise import draw_noise, draw_times
from happyhorse.types import Latents


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_levels_follow_the_shifted_logit_normal():
    """Its median is shift / (1 + shift), and odds of e^z times the shift give the quartiles."""
    law = NoiseLaw(shift=3.0, uniform=0.0, independent=0.0)
    times = draw_times(40_000, law, generator()).video
    odds = 3 * torch.exp(torch.tensor([-0.6745, 0.0, 0.6745]))
    expected = odds / (1 + odds)
    measured = torch.quantile(times, torch.tensor([0.25, 0.5, 0.75]))
    torch.testing.assert_close(measured, expected, atol=0.01, rtol=0)


def test_uniform_share_keeps_both_ends_trained():
    times = draw_times(40_000, NoiseLaw(uniform=0.1), generator()).video
    assert ((times < 0.05).float().mean() > 0.004) and ((times > 0.99).float().mean() > 0.001)


def test_modalities_share_their_level_except_for_the_independent_share():
    times = draw_times(20_000, NoiseLaw(independent=0.1), generator())
    apart = (times.video != times.audio).float().mean().item()
    assert abs(apart - 0.1) < 0.01


def test_noise_is_a_function_of_the_seed():
    like = Latents(torch.zeros(1, 48, 2, 2, 2), torch.zeros(1, 5, 64))
    first, again, other = (draw_noise(like, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.video, again.video) and torch.equal(first.audio, again.audio)
    assert not torch.equal(first.video, other.video)
