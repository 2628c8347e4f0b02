"""The report as one HTML page that needs nothing else; clips are links to the files beside it.

What it shows is in the report; here is only how. Every text that comes from outside is escaped.
"""

from __future__ import annotations

import base64
import contextlib
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import torch

from happyhorse.codecs.images import jpeg
from happyhorse.data.preview import strip
from happyhorse.errors import MediaError
from happyhorse.evaluation import sweep
from happyhorse.evaluation.readings import Sample
from happyhorse.evaluation.report import ROWS, Report
from happyhorse.evaluation.run import Measured
from happyhorse.evaluation.source import read_sample
from happyhorse.evaluation.sweep import Point
from happyhorse.evaluation.tally import Line, interval_text, side_by_side
from happyhorse.files import whole_file

SHOWN = 8
"""Clips of each family that are on the page."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .15rem .7rem; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums } th { text-align: left; background: #f6f6f6 }
td.right { background: #e3f4e3 } td.wrong { background: #fbe4e1 } small { color: #777 } figure { margin: 1rem 0 }
img, svg { max-width: 100%; height: auto } figcaption { color: #444 } summary { cursor: pointer; font-weight: 600 }
"""
ROW_HELP = {
    "real": "real scenes: the ceiling of the ruler",
    "strangers": "the picture of one real scene with the sound of another: what chance reaches",
    "codecs": "real scenes through the codecs: the ceiling of any model behind them",
    "model": "the clips that are judged",
}


def write_page(path: Path, report: Report, plots: Mapping[str, str], sheets: Mapping[str, tuple[str, str]]) -> None:
    """Writes the page: ``plots`` are SVG by title, ``sheets`` (image address, clip's file) by the case's name."""
    parts = [
        f"<h1>{_text(title(report))}</h1>",
        facts_table(report.facts),
        "<h2>What it comes to</h2>",
        lines_table(report.headline),
        "<ul>" + "".join(f"<li><b>{row}</b>: {_text(what)}</li>" for row, what in ROW_HELP.items()) + "</ul>",
        *(f"<h2>{_text(name)}</h2><figure>{svg}</figure>" for name, svg in plots.items()),
        skipped_table(report.skipped),
        "<h2>Every number</h2>",
        *(family_table(family, report.lines) for family in dict.fromkeys(line.family for line in report.lines)),
        "<h2>How late the sound is</h2>",
        offsets_table(report.offsets),
        "<h2>Speech by language</h2>",
        folded("By recogniser, language, row and kind of sentence", languages_table(report.languages)),
        "<h2>What was asked for and what is seen or heard</h2>",
        *(confusion_table(name, tables) for name, tables in report.confusion.items()),
        "<h2>The clips</h2>",
        *(figure(name, report, *found) for name, found in sheets.items()),
    ]
    _write(path, title(report), parts)


def write_sweep(path: Path, name: str, points: Sequence[Point], plot: str) -> None:
    """Writes the page of a sweep; ``plot`` is SVG."""
    _write(path, name, [f"<h1>{_text(name)}</h1>", f"<figure>{plot}</figure>", table(*sweep.table(points))])


def _write(path: Path, name: str, parts: Sequence[str]) -> None:
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(name)}</title>'
    with whole_file(path) as temporary:
        temporary.write_text(f"{page}<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n", "utf-8")


def title(report: Report) -> str:
    facts = report.facts
    return f"{facts.get('model') or facts.get('clips') or 'clips'}, measured by {facts['suite']}"


def facts_table(facts: Mapping[str, Any]) -> str:
    return table([], ((key, str(value)) for key, value in facts.items()))


# ------------------------------------------------------------------------------------------------------------ tables


def lines_table(lines: Iterable[Line]) -> str:
    """A line for each number of one family, a column for each row that was measured."""
    cells = side_by_side(lines)
    rows = [row for row in ROWS if any(row in found for found in cells.values())]
    body = (
        [metric, split, *(found[row].text if row in found else "" for row in rows), _clips(found)]
        for (_, metric, split), found in cells.items()
    )
    return table(["what", "combinations", *rows, "clips"], body)


def _clips(found: Mapping[str, Line]) -> str:
    return str(found["model"].clips if "model" in found else max(line.clips for line in found.values()))


def family_table(family: str, lines: Sequence[Line]) -> str:
    return folded(family, lines_table(line for line in lines if line.family == family))


def offsets_table(offsets: Sequence[Mapping[str, Any]]) -> str:
    head = ["family", "clips of", "pairs", "median (ms, late is positive)", "quartiles (ms)"]
    body = (
        [
            one["family"],
            one["row"],
            str(one["pairs"]),
            f"{one['median']:+.1f}",
            "{:+.1f} to {:+.1f}".format(*one["iqr"]),
        ]
        for one in offsets
    )
    return table(head, body)


def languages_table(languages: Sequence[Mapping[str, Any]]) -> str:
    head = ["language", "what", "sentences", "clips of", "rate", "clips"]
    body = (
        [one["language"], one["metric"], one["split"], one["row"], _rate(one), str(one["clips"])] for one in languages
    )
    return table(head, body)


def _rate(one: Mapping[str, Any]) -> str:
    return interval_text(one["value"], one["low"], one["high"])


def confusion_table(name: str, tables: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """Wanted values down, seen values across, one table for each kind of combination."""
    parts = []
    for combinations, rows in tables.items():
        values = sorted(set(rows) | {value for counts in rows.values() for value in counts})
        head = "".join(f"<th>{_text(value)}</th>" for value in ["asked for", *values])
        body = "".join(
            f"<tr><th>{_text(wanted)}</th>{''.join(_count(counts.get(v, 0), v == wanted) for v in values)}</tr>"
            for wanted, counts in sorted(rows.items())
        )
        parts.append(f"<p>{_text(combinations)} combinations</p><table><tr>{head}</tr>{body}</table>")
    return folded(name, "".join(parts))


def _count(count: int, right: bool) -> str:
    kind = "" if not count else " right" if right else " wrong"
    return f'<td class="number{kind}">{count or ""}</td>'


def skipped_table(skipped: Mapping[str, str]) -> str:
    if not skipped:
        return ""
    return f"<h2>Not measured: {len(skipped)}</h2>" + table(["clip", "why"], skipped.items())


def folded(name: str, body: str) -> str:
    """HTML that opens at a click."""
    return f"<details><summary>{_text(name)}</summary>{body}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    top = "<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in head) + "</tr>" if head else ""
    return f"<table>{top}{body}</table>" if body else "<p>nothing</p>"


# ------------------------------------------------------------------------------------------------------------- pictures


def figure(name: str, report: Report, address: str, file: str) -> str:
    """Frames of a clip over its waveform, linked to it, with what was asked for, seen and heard."""
    case = report.cases[name]
    lines = [case["prompt"]]
    lines += [f"seen: {', '.join(f'{what} {value}' for what, value in case['seen'].items())}"] if case["seen"] else []
    lines += [f"{who} hears: {text or 'nothing'}" for who, text in case["heard"].items()]
    caption = "<br>".join(_text(line) for line in lines)
    picture = f'<a href="{_text(quote(file))}"><img src="{address}" alt="{_text(name)}"></a>'
    return f"<figure>{picture}<figcaption><b>{_text(name)}</b> {caption}</figcaption></figure>"


def sheets(measured: Sequence[Measured], folder: Path) -> dict[str, tuple[str, str]]:
    """(Image address, clip's file) of the first clips of each family, by the case's name; the page is in ``folder``."""
    found = {}
    for one in measured:
        if one.file and int(one.case.name.rpartition("-")[2]) < SHOWN:
            with contextlib.suppress(MediaError):  # it is among those that were skipped
                sample = read_sample(one.file, one.case.plan.seconds)
                found[one.case.name] = (sheet(sample), os.path.relpath(one.file, folder))
    return found


def sheet(sample: Sample) -> str:
    """Six frames of a clip over its waveform, as an image address that holds the picture itself."""
    picture = strip(sample.frames, torch.from_numpy(np.asarray(sample.waveform, np.float32)))
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(picture)).decode()


def _text(value: str) -> str:
    return html.escape(str(value))
