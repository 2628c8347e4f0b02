"""``happyhorse arena``: models in and out, ratings, votes in and out."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from happyhorse.cli.main import say
from happyhorse.cli.progress import StageProgress

if TYPE_CHECKING:
    from happyhorse.arena.arena import Arena
    from happyhorse.arena.entries import Entry
    from happyhorse.arena.rivals import Record
    from happyhorse.arena.table import Row
    from happyhorse.arena.table import Table as Ratings


@dataclasses.dataclass(frozen=True)
class AskedTable:
    """Which table, as given on the command line; None where an option was left out."""

    board: str = "text-to-video"
    category: str | None = None
    anchor: str | None = None
    both_bad: str = "tie"
    seed: int = 0
    json: bool = False


def add_model(name: str, folder: Path, arena: Path | None, category: str | None, overwrite: bool) -> None:
    """Brings a folder of clips into the arena as a model."""
    found = _arena(arena)
    with StageProgress() as progress:
        checked = functools.partial(progress, "checking clips")
        entry = found.entries.add(name, folder, category, overwrite, checked)
    say(f"{name}: {len(entry.clips)} clips, {found.shared(entry)} of them of prompts that other models share")


def remove_model(name: str, arena: Path | None) -> None:
    """Takes a model out of the arena; votes on it stay on record and count no more."""
    entry = _arena(arena).entries.remove(name)
    say(f"{name} is out, with {len(entry.clips)} clips; votes on it stay on record, and count again if it comes back")


def list_models(arena: Path | None, as_json: bool) -> None:
    """Prints the models of the arena and what they have brought."""
    found = _arena(arena)
    entries = [entry_facts(found, entry) for entry in found.entries.all()]
    if as_json:
        for one in entries:
            print(json.dumps(one, ensure_ascii=False))
        return
    if not entries:
        print(f"no models in {found.folder}; happyhorse arena add NAME DIR brings one in")
        return
    table = Table("model", "added", "clips", "shared", "boards", "categories", title=str(found.folder))
    for one in entries:
        kinds = (", ".join(f"{name} {count}" for name, count in one[key].items()) for key in ("boards", "categories"))
        table.add_row(one["model"], one["added"], str(one["clips"]), str(one["shared"]), *kinds)
    _console().print(table)


def entry_facts(arena: Arena, entry: Entry) -> dict[str, Any]:
    """What is said of a model."""
    return {
        "model": entry.name,
        "added": datetime.datetime.fromtimestamp(entry.added).isoformat(" ", "seconds"),
        "clips": len(entry.clips),
        "shared": arena.shared(entry),
        "boards": dict(Counter(clip.board for clip in entry.clips)),
        "categories": dict(Counter(clip.category for clip in entry.clips)),
        "seconds": round(sum(clip.seconds for clip in entry.clips), 2),
    }


def show_ratings(arena: Path | None, asked: AskedTable) -> None:
    """Prints the table of a board, and each model's record against each rival."""
    found = _arena(arena).table(asked.board, asked.category, asked.anchor, asked.both_bad, seed=asked.seed)
    if asked.json:
        print(json.dumps({"board": asked.board, "category": asked.category, **found.to_dict()}, ensure_ascii=False))
        return
    if not found.rows:
        print(f"no models on board {asked.board}; happyhorse arena add NAME DIR brings one in")
        return
    _console().print(_ratings(found, " · ".join(filter(None, (asked.board, asked.category)))))
    if found.rivals:
        _console().print(_rivals(found))
    for warning in found.warnings:
        say(f"note: {warning}")


def _ratings(found: Ratings, title: str) -> Table:
    table = Table("rank", "model", "rating", "95 %", "votes", "prompts", "won", "tied", "lost", "both bad", title=title)
    several = len(found.ratings) > 1
    for row in found.rows:
        rank = "" if row.rank is None else f"{row.group}: {row.rank}" if several else str(row.rank)
        table.add_row(rank, row.model, *_rating(row), str(row.record.votes), str(row.prompts), *_shares(row.record))
    return table


def _rating(row: Row) -> tuple[str, str]:
    if row.rating is None:
        return "none", row.note
    if row.low is None or row.high is None:
        return f"{row.rating:.0f}", "one prompt only"
    return f"{row.rating:.0f}", f"{row.low:.0f} to {row.high:.0f}"


def _rivals(found: Ratings) -> Table:
    table = Table("model", "against", "votes", "won", "tied", "lost", "both bad", title="against each rival")
    for row in found.rows:
        for rival in found.rows:
            if record := found.rivals.get((row.model, rival.model)):
                table.add_row(row.model, rival.model, str(record.votes), *_shares(record))
    return table


def _shares(record: Record) -> list[str]:
    rates = record.rates
    return [f"{100 * rates[name]:.1f} %" for name in ("wins", "ties", "losses", "both_bad")]


def export_votes(arena: Path | None, output: Path | None, overwrite: bool) -> None:
    """Writes all votes as JSON lines or CSV, by the file's ending; without a file, as JSON lines to stdout."""
    from happyhorse.arena.exports import to_jsonl, write_votes

    votes = _arena(arena).votes.all()
    if output is None:
        sys.stdout.writelines(to_jsonl(votes))
        return
    write_votes(output, votes, overwrite)
    say(f"{len(votes)} votes written to {output}")


def import_votes(path: Path, arena: Path | None) -> None:
    """Adds votes that were exported, all or none; those that are there already are passed over."""
    from happyhorse.arena.exports import read_votes

    votes = read_votes(path)
    new = _arena(arena).votes.merge(votes)
    say(f"{new} votes added, {len(votes) - new} were there already")


def _arena(folder: Path | None) -> Arena:
    from happyhorse.arena.arena import Arena

    return Arena(folder)


def _console() -> Console:
    return Console(width=None if Console().is_terminal else 200)
