"""The plots of a report, as SVG."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window is ever opened; must come before pyplot

import matplotlib.pyplot as plt
import numpy as np

from happyhorse.evaluation.report import FOLEY, ROWS, Report
from happyhorse.evaluation.sweep import Point
from happyhorse.evaluation.tally import Line

COLOURS = {"real": "#9aa5b1", "strangers": "#d9c2a7", "codecs": "#6c8ebf", "model": "#c8553d"}


def plots(report: Report) -> dict[str, str]:
    """SVG by title; what there are no numbers for is left out."""
    lateness = {name: case["offsets"] for name, case in report.cases.items() if case["offsets"]}
    shown = {
        "In brief": headline_plot(report.headline),
        "Attributes right": attributes_plot(report.lines),
        "How late the sound is": offsets_plot(report.cases) if lateness else "",
    }
    return {title: svg for title, svg in shown.items() if svg}


def headline_plot(lines: Sequence[Line]) -> str:
    """One bar for each number and row, with its 95 % interval."""
    names = list(dict.fromkeys((line.metric, line.split) for line in lines))
    found = {(line.metric, line.split, line.row): line for line in lines}
    labels = [metric if split == "all" else f"{metric}, {split}" for metric, split in names]
    return _bars(labels, lambda index, row: found.get((*names[index], row)))


def attributes_plot(lines: Sequence[Line]) -> str:
    """Shares of attributes that are right, by family, medium and combination."""
    chosen = [line for line in lines if line.metric.startswith("attributes right")]
    names = list(dict.fromkeys((line.family, line.metric, line.split) for line in chosen))
    found = {(line.family, line.metric, line.split, line.row): line for line in chosen}
    labels = [f"{family} {metric.removeprefix('attributes right ')}, {split}" for family, metric, split in names]
    return _bars(labels, lambda index, row: found.get((*names[index], row)))


def _bars(labels: Sequence[str], line: Callable[[int, str], Line | None]) -> str:
    rows = [row for row in ROWS if any(line(index, row) for index in range(len(labels)))]
    if not rows:
        return ""
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.62 * len(labels)))
    height = 0.8 / len(rows)
    for number, row in enumerate(rows):
        known = [(index, found) for index in range(len(labels)) if (found := line(index, row))]
        values = np.array([found.value for _, found in known])
        ends = np.array([[found.low, found.high] for _, found in known]).reshape(-1, 2)
        reach = np.abs(np.stack([values - ends[:, 0], ends[:, 1] - values]))
        places = [index + (number + 0.5) * height - 0.4 for index, _ in known]
        axes.barh(places, values, height, xerr=reach, color=COLOURS[row], label=row, error_kw={"linewidth": 0.8})
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlim(0, None)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return _svg(figure)


def offsets_plot(cases: Mapping[str, Mapping[str, Any]]) -> str:
    """Histogram of the sound's lateness in the model's clips, by family."""
    figure, axes = plt.subplots(figsize=(9, 3))
    for family in FOLEY:
        late = [1000 * offset for case in cases.values() if case["family"] == family for offset in case["offsets"]]
        if late:
            axes.hist(late, bins=np.arange(-52, 53, 4).tolist(), histtype="step", label=f"{family} ({len(late)})")
    axes.axvspan(-1000 / 24, 1000 / 24, color="#eee", zorder=0)
    axes.set_xlabel("sound after impact (ms); a frame either way is grey")
    axes.legend(frameon=False)
    return _svg(figure)


def sweep_plot(points: Sequence[Point]) -> str:
    """Each headline number against the steps, a curve for each guidance, with 95 % intervals."""
    names = list(dict.fromkeys(name for point in points for name in point.numbers))
    figure, grid = plt.subplots(-(-len(names) // 2), 2, figsize=(9, 2.4 * -(-len(names) // 2)), squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        for guidance in dict.fromkeys(point.guidance for point in points):
            chosen = sorted((p for p in points if p.guidance == guidance and name in p.numbers), key=lambda p: p.steps)
            values = np.array([point.numbers[name] for point in chosen]).reshape(-1, 3)
            reach = np.abs(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]]))
            label = "guidance " + " ".join(f"{weight:g}" for weight in guidance)
            axes.errorbar([point.steps for point in chosen], values[:, 0], reach, marker="o", capsize=2, label=label)
        axes.set_title(name, fontsize=9)
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    grid.flat[0].legend(frameon=False, fontsize=8)
    figure.supxlabel("steps")
    figure.tight_layout()
    return _svg(figure)


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "happyhorse", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
