"""All cases of a run gathered into numbers: what a machine reads, and what the page shows.

The headline sums over families the few numbers that say most; everything else is by family.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from happyhorse.data.scenes.sentences import LANGUAGES, SPACELESS
from happyhorse.evaluation.fidelity import Features, frechet_interval
from happyhorse.evaluation.instruments import MEDIA
from happyhorse.evaluation.measure import ALL
from happyhorse.evaluation.readings import combination, said
from happyhorse.evaluation.record import Row
from happyhorse.evaluation.run import Measured
from happyhorse.evaluation.tally import Line, Reading, Tally

ROWS = ("real", "strangers", "codecs", "model")
FOLEY = ("ball", "horse", "walker")
"""Families whose sounds have a visible cause."""


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that a run found."""

    facts: Mapping[str, Any]
    """What was measured, with what."""
    headline: Sequence[Line]
    lines: Sequence[Line]
    offsets: Sequence[Mapping[str, Any]]
    """Median and quartiles of the sound's lateness, by row and family."""
    languages: Sequence[Mapping[str, Any]]
    """Error rates of transcripts, by row, recogniser and language."""
    confusion: Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]
    """How often a value was seen, by "family: attribute (medium)", kind of combination, wanted value, seen value."""
    skipped: Mapping[str, str]
    cases: Mapping[str, Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, **{key: [line.to_dict() for line in values[key]] for key in ("headline", "lines")}}


def make_report(facts: Mapping[str, Any], measured: Sequence[Measured]) -> Report:
    skipped = {name: why for one in measured for name, why in one.made.skipped.items()}
    embeddings = {medium: facts[f"embedding of the {medium}"] for medium in MEDIA}
    return Report(
        facts=facts,
        headline=headline(measured),
        lines=[*tally(measured).lines(), *frechet_lines(measured, embeddings)],
        offsets=list(offset_table(measured)),
        languages=list(language_table(measured)),
        confusion=confusion_tables(measured),
        skipped=skipped,
        cases={one.case.name: case_facts(one) for one in measured},
    )


def rows_of(one: Measured) -> Iterator[tuple[str, Row]]:
    """All rows of a case, in order."""
    rows = {**one.known.rows, **one.made.rows}
    return ((name, rows[name]) for name in ROWS if name in rows)


def tally(measured: Sequence[Measured]) -> Tally:
    table = Tally()
    for one in measured:
        for name, row in rows_of(one):
            table.add(name, row.readings)
    return table


# ------------------------------------------------------------------------------------------------------------ headline


def headline(measured: Sequence[Measured]) -> list[Line]:
    """A handful of numbers that say most, over all families that have them."""
    table = Tally()
    for one in measured:
        for name, row in rows_of(one):
            table.add(name, (found for reading in row.readings for found in _summed(reading)))
            table.add(name, _speech(one, row))
    return sorted(table.lines(), key=lambda line: (line.metric, line.split != "all", line.split == "held out"))


def _summed(reading: Reading) -> Iterator[Reading]:
    """The headline's reading that a reading adds to, if any."""
    if reading.metric == "F1 of impacts and onsets":
        yield dataclasses.replace(reading, family=ALL, metric="foley: F1 of impacts seen and heard")
    if reading.metric == "mouth against voice (correlation)":
        yield dataclasses.replace(reading, family=ALL, metric="talkers: mouth against voice (correlation)")
    if reading.metric.startswith("attributes right"):
        for split in ("all", reading.split):
            yield dataclasses.replace(reading, family=ALL, metric="adherence: attributes right", split=split)
    if reading.metric in ("silent clips", "frozen clips"):
        yield dataclasses.replace(reading, family=ALL)


def _speech(one: Measured, row: Row) -> Iterator[Reading]:
    """Errors over all languages: in characters where a language is written without spaces, else in words."""
    if one.case.plan.family != "talker":
        return
    unit = "characters" if one.case.plan.attributes["language"] in SPACELESS else "words"
    for reading in row.readings:
        if reading.metric.startswith(f"errors in {unit} "):
            metric = f"talkers: word errors {reading.metric.removeprefix(f'errors in {unit} ')}"
            for split in ("all", reading.split):
                yield dataclasses.replace(reading, family=ALL, metric=metric, split=split)


# ------------------------------------------------------------------------------------------------------------ distances


def frechet_lines(measured: Sequence[Measured], embeddings: Mapping[str, str]) -> list[Line]:
    """Fréchet distances of each row to other real scenes of the same prompts, of all families and of each.

    ``embeddings`` are the names of what the distances are taken between, by medium.
    """
    families = dict.fromkeys(one.case.plan.family for one in measured)
    groups = {ALL: measured} | {name: [one for one in measured if one.case.plan.family == name] for name in families}
    return [
        line
        for family, group in groups.items()
        for row in ("real", "codecs", "model")
        for medium in embeddings
        for line in _frechet(row, family, medium, embeddings[medium], group)
    ]


def _frechet(row: str, family: str, medium: str, embedding: str, group: Sequence[Measured]) -> Iterator[Line]:
    clips, reference = list[Features](), list[Features]()
    for one in group:
        features = {**one.known.features, **one.made.features}
        if f"{row}/{medium}" in features:
            clips.append(features[f"{row}/{medium}"].astype(np.float64))
            reference.append(features[f"reference/{medium}"].astype(np.float64))
    if len(clips) > 1:
        distance, low, high = frechet_interval(clips, reference)
        metric = f"Fréchet distance, {medium} ({embedding})"
        yield Line(row, family, metric, "all", distance, low, high, len(clips), sum(map(len, clips)))


# --------------------------------------------------------------------------------------------------------------- tables


def offset_table(measured: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """How late the sound is against the impact that is seen, in ms."""
    found = collections.defaultdict[tuple[str, str], list[float]](list)
    for one in measured:
        for name, row in rows_of(one):
            found[name, one.case.plan.family] += [1000 * offset for offset in row.offsets]
    for (name, family), offsets in found.items():
        if offsets:
            low, middle, high = np.percentile(offsets, (25, 50, 75)).round(2).tolist()
            yield {"row": name, "family": family, "pairs": len(offsets), "median": middle, "iqr": [low, high]}


def language_table(measured: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    """Errors of transcripts over all clips of a language and split, and how many were empty."""
    table = collections.defaultdict[tuple[str, ...], Tally](Tally)
    for one in measured:
        if one.case.plan.family == "talker":
            language = one.case.plan.attributes["language"]
            for name, row in rows_of(one):
                found = [reading for reading in row.readings if reading.metric.startswith(("errors in", "empty"))]
                table[name, language].add(name, found)
    for (name, language), each in sorted(table.items(), key=lambda entry: LANGUAGES.index(entry[0][1])):
        for line in each.lines():
            facts = {"value": line.value, "low": line.low, "high": line.high, "clips": line.clips}
            yield {"row": name, "language": language, "metric": line.metric, "split": line.split, **facts}


def confusion_tables(measured: Sequence[Measured]) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """What the model's clips show where something was asked for."""
    tables: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for one in measured:
        plan, row = one.case.plan, one.made.rows.get("model", Row())
        for what, seen in row.seen.items():
            wanted = plan.attributes[what.rpartition(" (")[0]]
            table = tables.setdefault(f"{plan.family}: {what}", {}).setdefault(combination(plan), {})
            counts = table.setdefault(wanted, {})
            counts[seen] = counts.get(seen, 0) + 1
    return tables


def case_facts(one: Measured) -> dict[str, Any]:
    """One case of the report: enough to compare it with the same case of another run."""
    plan, row = one.case.plan, one.made.rows.get("model", Row())
    facts: dict[str, Any] = {
        "family": plan.family,
        "prompt": one.case.prompt,
        "seed": plan.seed,
        "combination": combination(plan),
        "asked": dict(plan.attributes),
        **row.to_dict(),
    }
    return facts | ({"sentence": said(plan)} if plan.family == "talker" else {})
