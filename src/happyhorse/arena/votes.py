"""The votes, in one SQLite file: they are added, never changed, and on the disk before the voter hears of it."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from happyhorse.arena.counts import Tally
from happyhorse.arena.vote import PAIRING_FIELDS, VOTE_FIELDS, Pairing, Vote
from happyhorse.errors import HappyhorseError, MediaError, OutputError
from happyhorse.files import make_folder

VERSION = 1
OPEN_SECONDS = 86_400.0
"""A match that is not voted on for so long is forgotten."""
_WAIT = 30.0
"""Seconds that one writer waits for another."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS matches (
    match TEXT PRIMARY KEY, board TEXT NOT NULL, category TEXT NOT NULL, prompt TEXT NOT NULL, "left" TEXT NOT NULL,
    "right" TEXT NOT NULL, left_clip TEXT NOT NULL, right_clip TEXT NOT NULL, chance REAL NOT NULL, voter TEXT NOT NULL,
    made REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS votes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    match TEXT NOT NULL, board TEXT NOT NULL, category TEXT NOT NULL, prompt TEXT NOT NULL, "left" TEXT NOT NULL,
    "right" TEXT NOT NULL, left_clip TEXT NOT NULL, right_clip TEXT NOT NULL, chance REAL NOT NULL, voter TEXT NOT NULL,
    choice TEXT NOT NULL, time REAL NOT NULL, seconds REAL NOT NULL, played INTEGER NOT NULL,
    UNIQUE (match, voter)
);
CREATE INDEX IF NOT EXISTS votes_by_board ON votes (board, prompt, "left", "right", left_clip, right_clip, choice);
CREATE INDEX IF NOT EXISTS votes_by_voter ON votes (voter, board, prompt, "left", "right");
CREATE TRIGGER IF NOT EXISTS votes_are_not_changed BEFORE UPDATE ON votes
    BEGIN SELECT RAISE(ABORT, 'votes are added, never changed'); END;
CREATE TRIGGER IF NOT EXISTS votes_are_not_deleted BEFORE DELETE ON votes
    BEGIN SELECT RAISE(ABORT, 'votes are added, never deleted'); END;
"""


class VoteError(HappyhorseError):
    """A vote that does not count: its match is unknown or another voter's, was voted on, or was not watched."""


class UnknownMatchError(VoteError):
    """There is no such match, or it has been forgotten."""


class Votes:
    """The votes and open matches in a file, which is made when it is first needed.

    Every call opens the file anew: any number of threads and processes may use it. Raises MediaError for a file that is
    no such record, OutputError for one that cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def open_match(self, pairing: Pairing, now: float) -> None:
        """Notes a match that is laid before a voter, and forgets those that nobody will vote on any more."""
        values = (*dataclasses.astuple(pairing), now)
        marks = ", ".join("?" * len(values))
        with self._writing() as connection:
            connection.execute("DELETE FROM matches WHERE made < ?", (now - OPEN_SECONDS,))
            connection.execute(f"INSERT INTO matches ({_columns(PAIRING_FIELDS)}, made) VALUES ({marks})", values)

    def add(self, match: str, voter: str, choice: str, seconds: float, played: bool, now: float) -> Vote:
        """Records a vote on an open match. Raises VoteError if it does not count, ConfigError if it is no vote."""
        if played is not True:
            raise VoteError("both clips have to be played once, to their ends, before a vote; play them and vote then")
        with self._writing() as connection:
            shown = self._open(connection, match, voter)
            vote = Vote(**dataclasses.asdict(shown), choice=choice, time=now, seconds=seconds, played=played)
            _insert(connection, vote)
            connection.execute("DELETE FROM matches WHERE match = ?", (match,))
        return vote

    def find(self, match: str, voter: str) -> Pairing | None:
        """The match that this voter has voted on (a Vote) or may still vote on; None if there is none."""
        with self._reading() as connection:
            return _voted(connection, match, voter) or _laid(connection, match, voter)

    def _open(self, connection: sqlite3.Connection, match: str, voter: str) -> Pairing:
        if _voted(connection, match, voter):
            raise VoteError("this match has had your vote; a vote cannot be changed: ask for the next match")
        found = _laid(connection, match, voter)
        if found is None:
            raise UnknownMatchError(
                f"there is no open match {match[:40]!r} for this voter (they are kept for {OPEN_SECONDS / 3600:.0f} "
                "hours); ask for the next match"
            )
        return found

    def all(self) -> list[Vote]:
        """Every vote, in the order in which they came."""
        with self._reading() as connection:
            return [_vote(row) for row in connection.execute(f"{_VOTES} ORDER BY number")]

    def merge(self, votes: Iterable[Vote]) -> int:
        """Adds votes that were exported, all or none, but for those that are here already. Returns how many were new.

        Raises VoteError if a voter has two different votes on one match.
        """
        new = 0
        with self._writing() as connection:
            for vote in votes:
                before = _voted(connection, vote.match, vote.voter)
                if before is None:
                    _insert(connection, vote)
                    new += 1
                elif before != vote:
                    raise VoteError(f"match {vote.match} has another vote of voter {vote.voter}; nothing was added")
        return new

    def tallies(self, board: str, clips: dict[tuple[str, str], str]) -> list[Tally]:
        """Votes of a board on ``clips``: (model, prompt) to SHA-256. Others' clips are no longer in the arena."""
        columns = 'prompt, "left", "right", choice, left_clip, right_clip'
        query = f"SELECT {columns}, COUNT(*) FROM votes WHERE board = ? GROUP BY {columns}"
        with self._reading() as connection:
            return [
                Tally(prompt, left, right, choice, number)
                for prompt, left, right, choice, left_clip, right_clip, number in connection.execute(query, (board,))
                if clips.get((left, prompt)) == left_clip and clips.get((right, prompt)) == right_clip
            ]

    def seen(self, voter: str, board: str) -> Counter[tuple[str, str, str]]:
        """How often a voter has voted, by (prompt, model, model), the two models sorted."""
        query = 'SELECT prompt, "left", "right" FROM votes WHERE voter = ? AND board = ?'
        with self._reading() as connection:
            rows = connection.execute(query, (voter, board))
            return Counter((prompt, min(left, right), max(left, right)) for prompt, left, right in rows)

    def last(self) -> int:
        """A number that grows with every vote."""
        with self._reading() as connection:
            return connection.execute("SELECT COALESCE(MAX(number), 0) FROM votes").fetchone()[0]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        make_folder(self.path.parent)
        with self._connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has rolled it back already
                    connection.execute("ROLLBACK")
                raise

    def _reading(self) -> contextlib.AbstractContextManager[sqlite3.Connection]:
        """The file, or an empty record where there is none: to look at it makes nothing."""
        return self._connected(self.path if self.path.exists() else ":memory:")

    @contextlib.contextmanager
    def _connected(self, path: Path | str) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
            try:
                _prepare(connection, self.path)
                yield connection
            finally:
                connection.close()
        except sqlite3.OperationalError as error:
            raise OutputError(f"{self.path} cannot be used: {error}; check its permissions and the disk") from error
        except sqlite3.DatabaseError as error:
            raise MediaError(f"{self.path} is no record of votes ({error}); move it away, or bring it back") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise MediaError(f"{path} was written by a newer happyhorse (version {version}, this one knows {VERSION})")
    # FULL: a vote is on the disk when its transaction ends, whatever becomes of the machine.
    connection.execute("PRAGMA synchronous = FULL")
    if version < VERSION:
        _make(connection)


def _make(connection: sqlite3.Connection) -> None:
    """Makes the tables, unless somebody else just did."""
    until = time.monotonic() + _WAIT
    while True:  # the change to a write-ahead log fails at once where another is at it, whatever the timeout
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)  # left and right are words of SQL


_MATCHES = f"SELECT {_columns(PAIRING_FIELDS)} FROM matches"
_VOTES = f"SELECT {_columns(VOTE_FIELDS)} FROM votes"


def _laid(connection: sqlite3.Connection, match: str, voter: str) -> Pairing | None:
    row = connection.execute(f"{_MATCHES} WHERE match = ? AND voter = ?", (match, voter)).fetchone()
    return row and Pairing(**dict(zip(PAIRING_FIELDS, row, strict=True)))


def _voted(connection: sqlite3.Connection, match: str, voter: str) -> Vote | None:
    row = connection.execute(f"{_VOTES} WHERE match = ? AND voter = ?", (match, voter)).fetchone()
    return row and _vote(row)


def _vote(row: tuple) -> Vote:
    values = dict(zip(VOTE_FIELDS, row, strict=True))
    return Vote(**{**values, "played": values["played"] == 1})  # SQLite has no truth values


def _insert(connection: sqlite3.Connection, vote: Vote) -> None:
    values = dataclasses.astuple(vote)
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO votes ({_columns(VOTE_FIELDS)}) VALUES ({marks})", values)
