import math

import numpy as np
import pytest

from happyhorse.arena.intervals import interval, prompt_weights, student_quantile, tail


@pytest.mark.parametrize(
    "freedom, quantile", [(1, 12.7062), (2, 4.30265), (5, 2.57058), (30, 2.04227), (1000, 1.96234)]
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)
    assert student_quantile(0.5, freedom) == pytest.approx(0, abs=1e-9)


def test_many_prompts_leave_the_usual_share_beyond_each_end_and_few_leave_less():
    assert tail(100_000) == pytest.approx(0.025, abs=1e-4)
    assert 0 < tail(2) < tail(5) < tail(20) < tail(1000) < 0.025


def test_weights_are_seeded_and_one_on_average():
    weights = prompt_weights(50, 4000, 3)
    assert weights.shape == (4000, 50) and (weights > 0).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.08)
    assert np.array_equal(weights, prompt_weights(50, 4000, 3))
    assert not np.array_equal(weights, prompt_weights(50, 4000, 4))


@pytest.mark.parametrize("prompts", [6, 12, 40])
def test_the_interval_of_a_mean_is_that_of_student(prompts):
    values = np.random.default_rng(0).standard_normal(prompts)
    weights = prompt_weights(prompts, 40_000, 1)
    low, high = interval(weights @ values / weights.sum(axis=1), prompts)
    half = student_quantile(0.975, prompts - 1) * values.std(ddof=1) / math.sqrt(prompts)
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_one_prompt_says_nothing():
    assert all(map(math.isnan, interval(np.ones(10), 1)))
