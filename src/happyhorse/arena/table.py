"""The table of a board: ratings with intervals, records against each rival, and what cannot be compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from happyhorse.arena.counts import AS_TIE, BOTH_BAD_RULES, Counts, Tally, count
from happyhorse.arena.graph import comparable, components
from happyhorse.arena.names import one_of
from happyhorse.arena.ratings import DRAWS, Ratings, rate
from happyhorse.arena.rivals import NOTHING, Record, records
from happyhorse.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Row:
    """A model on a board."""

    model: str
    group: int | None
    """Ratings compare within a group; 0 is the largest. None: the model has no finite rating."""
    rank: int | None
    """One more than the number of models of the group that are surely better: whose interval lies above this one."""
    rating: float | None
    low: float | None
    """Ends of the 95 % interval; None if there is no rating, or votes on one prompt only."""
    high: float | None
    prompts: int
    """Prompts with votes on the model."""
    record: Record
    note: str
    """Why there is no rating, "" if there is one."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "record"}
        return {**own, **record_dict(self.record)}


@dataclasses.dataclass(frozen=True)
class Table:
    """All models of a board, the best first; those without a rating last."""

    rows: tuple[Row, ...]
    rivals: dict[tuple[str, str], Record]
    """By (model, rival), for those that have met."""
    ratings: tuple[Ratings, ...]
    """Of each group; they give the interval of a difference."""
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        rivals = [
            {"model": model, "rival": rival, **record_dict(record)} for (model, rival), record in self.rivals.items()
        ]
        return {"rows": [row.to_dict() for row in self.rows], "rivals": rivals, "warnings": list(self.warnings)}


def record_dict(record: Record) -> dict[str, Any]:
    """A record with its rates, as JSON values."""
    return {"votes": record.votes, **dataclasses.asdict(record), "rates": record.rates}


def make_table(
    votes: Iterable[Tally],
    models: Sequence[str] = (),
    anchor: str | None = None,
    both_bad: str = AS_TIE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Table:
    """The table of votes between ``models`` (of all that are voted on, if none are given).

    ``anchor`` is rated 1000; without one, the mean of each group is. "Both bad" counts as a tie, or is left out
    (``both_bad="left-out"``). Intervals come from ``draws`` draws under ``seed``. ConfigError for an unknown anchor.
    """
    one_of("way to count votes that both are bad", both_bad, BOTH_BAD_RULES)
    counts = count(votes, models)
    if anchor is not None and anchor not in counts.models:
        raise ConfigError(f"{anchor!r} is not on this board; its models are {', '.join(counts.models) or 'none'}")
    ratings = rate(counts, both_bad, anchor, draws, seed)
    rivals = records(counts)
    rated = dict(_rated(ratings))
    rows = [_row(model, counts, rivals, both_bad, rated.get(model, {})) for model in counts.models]
    return Table(
        rows=tuple(sorted(rows, key=_order)),
        rivals=rivals,
        ratings=tuple(ratings),
        warnings=tuple(_warnings(counts, both_bad, rows, anchor)),
    )


def _order(row: Row) -> tuple[float, float, str]:
    if row.group is None or row.rating is None:
        return math.inf, -row.record.score if row.record.votes else 1, row.model
    return row.group, -row.rating, row.model


def _rated(ratings: Iterable[Ratings]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the rows of rated models say of their ratings."""
    for group, one in enumerate(ratings):
        for model, rank, rating, ends in zip(one.models, one.ranks(), one.values, one.intervals(), strict=True):
            low, high = (None if math.isnan(end) else float(end) for end in ends)
            yield model, {"group": group, "rank": rank, "rating": float(rating), "low": low, "high": high}


def _row(
    model: str, counts: Counts, rivals: dict[tuple[str, str], Record], both_bad: str, rated: dict[str, Any]
) -> Row:
    record = sum((record for (one, _), record in rivals.items() if one == model), NOTHING)
    mine = (counts.pairs == counts.models.index(model)).any(axis=1)
    prompts = int(counts.outcomes[:, mine].any(axis=(1, 2)).sum())
    note = "" if rated else _why_unrated(record if both_bad == AS_TIE else dataclasses.replace(record, both_bad=0))
    return Row(**{**_UNRATED, **rated}, model=model, prompts=prompts, record=record, note=note)


NO_VOTES = "no votes yet"
_UNRATED = {"group": None, "rank": None, "rating": None, "low": None, "high": None}


def _why_unrated(record: Record) -> str:
    if not record.votes:
        return NO_VOTES
    if record.votes in (record.wins, record.losses):
        return "won every vote" if record.wins else "lost every vote"
    return "every vote went one way"


def _warnings(counts: Counts, both_bad: str, rows: Sequence[Row], anchor: str | None) -> Iterator[str]:
    wins = counts.wins(both_bad)
    joined = [members for members in components(wins) if len(members) > 1]
    if len(joined) > 1:
        parts = "; ".join(_names(counts, members) for members in joined)
        yield f"no chain of votes joins these: {parts}; ratings compare only within each, until votes join them"
    for members in joined:
        inside = [part for part in comparable(wins) if set(part) <= set(members)]
        if len(inside) > 1:
            parts = "; ".join(_names(counts, part) for part in inside)
            yield f"all votes between these went one way: {parts}; until one does not, their ratings do not compare"
    for row in rows:
        if row.note == NO_VOTES:
            yield f"{row.model} has no votes yet"
        elif row.rating is not None and row.low is None:
            yield f"{row.model} was compared on one prompt only: it has no interval"
    if anchor is not None and all(row.rating is None for row in rows if row.model == anchor):
        yield f"{anchor} has no finite rating to be 1000: the mean is, in each group"


def _names(counts: Counts, members: Sequence[int]) -> str:
    return ", ".join(counts.models[member] for member in members)
