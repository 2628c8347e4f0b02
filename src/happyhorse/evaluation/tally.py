"""Numbers of single clips, gathered into a table: sums of ratios with bootstrap intervals over clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class Reading:
    """What one clip adds to one number: ``total`` out of (or over) ``count``."""

    family: str
    metric: str
    split: str
    """"all", "trained" or "held out"."""
    total: float
    count: float = 1.0


@dataclasses.dataclass(frozen=True)
class Line:
    """One number of the table: the sum of totals over the sum of counts, and its 95 % interval over clips."""

    row: str
    """What was measured: "real", "strangers", "codecs" or "model"."""
    family: str
    metric: str
    split: str
    value: float
    low: float
    high: float
    clips: int
    count: float

    @property
    def text(self) -> str:
        return interval_text(self.value, self.low, self.high)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class Tally:
    """Readings by row, family, metric and split; a few floats for each clip, however many there are."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}

    def add(self, row: str, readings: Iterable[Reading]) -> None:
        for reading in readings:
            key = (row, reading.family, reading.metric, reading.split)
            self._readings.setdefault(key, []).append((reading.total, reading.count))

    def lines(self) -> list[Line]:
        """The table, family by family in the order in which they came; what counts nothing (0 of 0) is left out."""
        families = list(dict.fromkeys(family for _, family, _, _ in self._readings))
        lines = [
            Line(*key, *ratio_interval(pairs), clips=len(pairs), count=sum(count for _, count in pairs))
            for key, pairs in self._readings.items()
            if sum(count for _, count in pairs)
        ]
        return sorted(lines, key=lambda line: families.index(line.family))


def ratio_interval(pairs: Sequence[tuple[float, float]], seed: int = 0) -> tuple[float, float, float]:
    """(sum of totals / sum of counts, low, high): the percentile bootstrap over clips (Efron and Tibshirani 1993).

    Clips are resampled, not events: the events of one clip stand or fall together.
    """
    values = np.array(pairs, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    sums = values[drawn].sum(axis=1)
    sums = sums[sums[:, 1] > 0]
    low, high = np.percentile(sums[:, 0] / sums[:, 1], INTERVAL)
    return float(values[:, 0].sum() / values[:, 1].sum()), float(low), float(high)


Key = tuple[str, str, str]
"""Family, metric, split."""


def side_by_side(lines: Iterable[Line]) -> dict[Key, dict[str, Line]]:
    """The lines of each number by their row, in the order in which the numbers come."""
    cells: dict[Key, dict[str, Line]] = {}
    for line in lines:
        cells.setdefault((line.family, line.metric, line.split), {})[line.row] = line
    return cells


def interval_text(value: float, low: float, high: float) -> str:
    """ "0.9 [0.85, 0.94]"."""
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"


def markdown(lines: Sequence[Line]) -> str:
    """A table with a line for each number and a column for each row of measurement."""
    rows = list(dict.fromkeys(line.row for line in lines))
    head = ["family", "what", "combinations", *rows, "clips"]
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (family, metric, split), found in side_by_side(lines).items():
        values = [found[row].text if row in found else "" for row in rows]
        clips = str(max(line.clips for line in found.values()))
        table.append("| " + " | ".join([family, metric, split, *values, clips]) + " |")
    return "\n".join(table)
