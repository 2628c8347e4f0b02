"""What quality costs: the headline of several evaluations of one model against its steps, guidance and time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from happyhorse.errors import MediaError
from happyhorse.evaluation.tally import interval_text


@dataclasses.dataclass(frozen=True)
class Point:
    """One evaluation of a sweep."""

    steps: int
    guidance: tuple[float, float]
    """Weights of the prompt for picture and sound."""
    seconds: float | None
    """Median time to make a clip."""
    numbers: Mapping[str, tuple[float, float, float]]
    """(Value, low, high) of the model's headline, by name."""


def read_point(path: Path) -> Point:
    """The point of a ``report.json``. Raises MediaError if it is missing or no report of a model."""
    try:
        report = json.loads(path.read_text("utf-8"))
        facts = report["facts"]
        lines = [line for line in report["headline"] if line["row"] == "model"]
        numbers = {line_name(line): (line["value"], line["low"], line["high"]) for line in lines}
        picture, sound = facts["guidance"]
        return Point(facts["steps"], (picture, sound), facts["seconds to make a clip (median)"], numbers)
    except OSError as error:
        raise MediaError(f"{path} was not found or may not be read; give a report.json") from error
    except (ValueError, TypeError, KeyError) as error:
        raise MediaError(f"{path} is not a report of a model; give one of happyhorse evaluate MODEL") from error


def line_name(line: Mapping[str, Any]) -> str:
    return line["metric"] if line["split"] == "all" else f"{line['metric']}, {line['split']}"


def table(points: Sequence[Point]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table with a line for each point."""
    names = list(dict.fromkeys(name for point in points for name in point.numbers))
    rows = []
    for point in points:
        guidance = " ".join(f"{weight:g}" for weight in point.guidance)
        row = [str(point.steps), guidance, "" if point.seconds is None else f"{point.seconds:.1f}"]
        row += [interval_text(*point.numbers[n]) if n in point.numbers else "" for n in names]
        rows.append(row)
    return ["steps", "guidance", "s per clip", *names], rows


def markdown(points: Sequence[Point]) -> str:
    head, rows = table(points)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
