"""Paired differences: what cases have in common falls out, and chance is told from change."""

from __future__ import annotations

import random

import numpy as np
import pytest

from happyhorse.errors import ConfigError
from happyhorse.evaluation.compare import compare, difference_interval, markdown
from happyhorse.evaluation.tally import Reading


def readings(values: dict[str, tuple[float, float]]) -> dict[str, list[Reading]]:
    return {name: [Reading("ball", "F1", "all", *pair)] for name, pair in values.items()}


def test_ratios_are_those_of_the_sums_over_shared_cases():
    first = readings({"a": (1, 2), "b": (3, 4), "only": (100, 100)})
    second = readings({"a": (2, 2), "b": (4, 4)})
    (found,) = compare(first, second)
    assert (found.first, found.second, found.cases) == (pytest.approx(4 / 6), 1.0, 2)
    assert found.change == pytest.approx(1 / 3)


def test_a_constant_change_is_certain_however_much_cases_differ():
    rng = random.Random(0)
    values = {f"case {index}": rng.uniform(0, 100) for index in range(40)}
    first = readings({name: (value, 1) for name, value in values.items()})
    second = readings({name: (value + 1, 1) for name, value in values.items()})
    (found,) = compare(first, second)
    assert found.certain and found.low == pytest.approx(1) and found.high == pytest.approx(1)
    assert "**+1 [+1, +1]**" in markdown([found], ("old", "new"))
    few = [{name: side[name] for name in list(side)[:7]} for side in (first, second)]
    assert not compare(*few)[0].certain, "seven cases are too few"


def test_nineteen_of_twenty_comparisons_of_equals_are_uncertain():
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(60):
        pairs = [np.stack([rng.integers(0, 2, 50), np.ones(50)], axis=1).astype(float) for _ in range(2)]
        low, high = difference_interval(*pairs)
        wrong += low > 0 or high < 0
    assert wrong <= 9, "3 of 60 are expected"


def test_what_counts_nothing_on_one_side_is_left_out():
    assert compare(readings({"a": (0, 0)}), readings({"a": (1, 1)})) == []
    with pytest.raises(ConfigError, match="no case in common"):
        compare(readings({"a": (1, 1)}), readings({"b": (1, 1)}))
