import itertools

import pytest
import torch

from happyhorse.errors import ConfigError
from happyhorse.flow.timesteps import draw_times, grid, magihuman_grid, shift


@pytest.mark.parametrize("steps", [4, 5, 8, 32])
def test_published_schedule(golden, steps):
    case = golden("schedule")
    sigmas = magihuman_grid(steps)
    assert case.error(f"steps{steps}_shift5.sigmas", torch.tensor(sigmas)) < 1e-6
    timesteps = [int(1000 * sigma) for sigma in sigmas[:-1]]
    assert timesteps == case[f"steps{steps}_shift5.timesteps"].tolist()


@pytest.mark.parametrize("make", [grid, magihuman_grid])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_grids_fall_to_zero(make, steps):
    sigmas = make(steps)
    assert len(sigmas) == steps + 1
    assert all(high > low for high, low in itertools.pairwise(sigmas))
    assert sigmas[0] == pytest.approx(1, abs=1e-3) and sigmas[-1] == 0


def test_grid_without_shift_is_even():
    assert grid(4, 1.0) == [1, 0.75, 0.5, 0.25, 0]


def test_no_steps_is_an_error():
    with pytest.raises(ConfigError, match="0 steps"):
        grid(0)


def test_shift_adds_its_logarithm_to_the_logit():
    u = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    assert torch.allclose(torch.logit(shift(u, 5.0)), torch.logit(u) + torch.log(torch.tensor(5.0).double()))


def test_drawn_levels_follow_the_shifted_logit_normal():
    levels = draw_times(20_000, 3.0, uniform_share=0.0, generator=torch.Generator().manual_seed(0))
    logits = torch.logit(levels.double())
    assert logits.mean() == pytest.approx(torch.log(torch.tensor(3.0)).item(), abs=0.03)
    assert logits.std() == pytest.approx(1.0, abs=0.03)


def test_a_uniform_share_trains_both_ends():
    levels = draw_times(20_000, 3.0, uniform_share=1.0, generator=torch.Generator().manual_seed(0))
    counts = torch.histc(levels, 10, 0, 1)
    assert counts.min() > 1800 and counts.max() < 2200
