"""Which of two measured models is better, and is the difference more than chance?

Both were asked for the same cases, so their readings are paired: whole cases are drawn anew for both at once, and
what the cases have in common falls out of the difference (Efron and Tibshirani 1993, chapter 8).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from happyhorse.errors import ConfigError, MediaError
from happyhorse.evaluation.tally import INTERVAL, RESAMPLES, Key, Reading

Readings = Mapping[str, Sequence[Reading]]
"""The readings of each case, by the case's name."""


FEWEST = 8
"""Cases below which a bootstrap knows too little: of two alike differences it makes a certainty."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """One number of two models."""

    family: str
    metric: str
    split: str
    first: float
    second: float
    low: float
    """Lower end of the 95 % interval of ``second - first``."""
    high: float
    cases: int
    """Cases that count in both."""

    @property
    def change(self) -> float:
        return self.second - self.first

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero; of few cases no interval says so."""
        return self.cases >= FEWEST and (self.low > 0 or self.high < 0)


def read_cases(path: Path) -> dict[str, list[Reading]]:
    """The readings of each case in a ``report.json``. Raises MediaError if it is missing or no report."""
    try:
        cases = json.loads(path.read_text("utf-8"))["cases"]
        return {name: [Reading(*reading) for reading in case["readings"]] for name, case in cases.items()}
    except OSError as error:
        raise MediaError(f"{path} was not found or may not be read; give a report.json") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MediaError(f"{path} is not a report of happyhorse evaluate; give a report.json") from error


def compare(first: Readings, second: Readings) -> list[Difference]:
    """The difference of every number that both have. ConfigError if they have no case in common."""
    shared = [name for name in first if name in second]
    if not shared:
        raise ConfigError("the two have no case in common; measure both with the same suite")
    one, other = (by_number(readings, shared) for readings in (first, second))
    found = []
    for key in one:
        if key not in other:
            continue
        both = [name for name in shared if name in one[key] and name in other[key]]
        old, new = (np.array([numbers[key][name] for name in both], np.float64) for numbers in (one, other))
        if both and old[:, 1].sum() > 0 and new[:, 1].sum() > 0:
            found.append(Difference(*key, *ratios(old, new), *difference_interval(old, new), cases=len(both)))
    return found


def by_number(readings: Readings, names: Sequence[str]) -> dict[Key, dict[str, tuple[float, float]]]:
    """(Total, count) of each case by family, metric and split."""
    numbers: dict[Key, dict[str, tuple[float, float]]] = {}
    for name in names:
        for reading in readings[name]:
            key = (reading.family, reading.metric, reading.split)
            numbers.setdefault(key, {})[name] = (reading.total, reading.count)
    return numbers


def ratios(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Sum of totals over sum of counts of (total, count) pairs [N, 2], twice."""
    return float(first[:, 0].sum() / first[:, 1].sum()), float(second[:, 0].sum() / second[:, 1].sum())


def difference_interval(first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the second ratio less the first, over pairs [N, 2] whose rows are the same cases."""
    drawn = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    one, other = first[drawn].sum(axis=1), second[drawn].sum(axis=1)
    counts = (one[:, 1] > 0) & (other[:, 1] > 0)
    change = other[counts, 0] / other[counts, 1] - one[counts, 0] / one[counts, 1]
    low, high = np.percentile(change, INTERVAL)
    return float(low), float(high)


def markdown(differences: Sequence[Difference], names: tuple[str, str]) -> str:
    """A table of differences; those that are more than chance are in bold."""
    table = [f"| family | what | combinations | {names[0]} | {names[1]} | change | cases |", "|" + "---|" * 7]
    for one in differences:
        change = f"{one.change:+.3g} [{one.low:+.3g}, {one.high:+.3g}]"
        change = f"**{change}**" if one.certain else change
        values = [f"{one.first:.3g}", f"{one.second:.3g}", change, str(one.cases)]
        table.append("| " + " | ".join([one.family, one.metric, one.split, *values]) + " |")
    return "\n".join(table)
