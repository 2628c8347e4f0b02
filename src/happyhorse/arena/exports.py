"""Votes as files, JSON lines or CSV, and back."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from happyhorse.arena.vote import VOTE_FIELDS, Vote, vote_of
from happyhorse.codecs.images import require_file
from happyhorse.errors import ConfigError, MediaError
from happyhorse.files import whole_file

FILE_BYTES_MAX = 2**30
_NUMBERS = ("chance", "time", "seconds")


def to_jsonl(votes: Iterable[Vote]) -> Iterator[str]:
    """A line for each vote, an object with a value for each field."""
    return (json.dumps(dataclasses.asdict(vote)) + "\n" for vote in votes)


def to_csv(votes: Iterable[Vote]) -> Iterator[str]:
    """A line with the names of the fields, and one for each vote."""
    yield ",".join(VOTE_FIELDS) + "\n"
    for vote in votes:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(map(_cell, dataclasses.astuple(vote)))
        yield line.getvalue()


def write_votes(path: Path, votes: Iterable[Vote], overwrite: bool = False) -> None:
    """Writes votes as ``.jsonl`` or ``.csv``, whole or not at all. Raises OutputError if they cannot be written."""
    lines = to_csv(votes) if _is_csv(path) else to_jsonl(votes)
    with whole_file(path, overwrite) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.writelines(lines)


def read_votes(path: Path) -> list[Vote]:
    """The votes of a ``.jsonl`` or ``.csv`` file. MediaError says after how many votes there is something else."""
    require_file(path, FILE_BYTES_MAX)
    read = _read_csv if _is_csv(path) else _read_jsonl
    votes = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            votes.extend(map(vote_of, read(file)))
    except (ConfigError, ValueError, TypeError, KeyError, RecursionError, csv.Error) as error:
        raise MediaError(f"{path} is no record of votes: after {len(votes)} votes, {error}") from error
    return votes


def _is_csv(path: Path) -> bool:
    if path.suffix not in (".jsonl", ".csv"):
        raise ConfigError(f"{path.name} ends neither in .jsonl nor in .csv; give one of the two")
    return path.suffix == ".csv"


def _read_jsonl(file: Iterable[str]) -> Iterator[dict[str, Any]]:
    return (dict(json.loads(line)) for line in file)


def _read_csv(file: Iterable[str]) -> Iterator[dict[str, Any]]:
    for values in csv.DictReader(file, strict=True):
        numbers = {name: float(values[name]) for name in _NUMBERS}
        played = {"true": True, "false": False}[values["played"]]
        yield {**values, **numbers, "played": played}


def _cell(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | float | int) else value
