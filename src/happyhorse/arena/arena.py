"""The arena: what a page or a program asks of it. ``next_match``, ``vote``, ``table``."""

from __future__ import annotations

import dataclasses
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from happyhorse.arena.counts import AS_TIE
from happyhorse.arena.entries import Entries, Entry, EntryClip
from happyhorse.arena.loudness import equal_factors
from happyhorse.arena.matchmaking import Matchmaker, candidates
from happyhorse.arena.names import check_board, check_category
from happyhorse.arena.ratings import DRAWS
from happyhorse.arena.table import Table, make_table
from happyhorse.arena.vote import Pairing, Vote
from happyhorse.arena.votes import UnknownMatchError, VoteError, Votes
from happyhorse.errors import ConfigError

VOTES = "votes.sqlite"
TABLES_MAX = 64
"""Tables that are kept at once: each board and category, and some others."""


def arena_folder(asked: Path | None = None) -> Path:
    """Where the arena is: the folder that is asked for, HAPPYHORSE_ARENA, or arena in the user's data folder."""
    if asked is not None:
        return asked
    if os.environ.get("HAPPYHORSE_ARENA"):
        return Path(os.environ["HAPPYHORSE_ARENA"])
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "happyhorse" / "arena"


@dataclasses.dataclass(frozen=True)
class Match:
    """A match as a voter sees it: no names, nor any inside of the files. These are named by the bytes of the clips;
    serve them by match and side."""

    id: str
    board: str
    category: str
    prompt: str
    """The text."""
    image: Path | None
    left_clip: Path
    right_clip: Path
    left_gain: float
    """What the sound is multiplied by, so that both are equally loud; it may be above 1."""
    right_gain: float


@dataclasses.dataclass(frozen=True)
class Names:
    """Who made the clips of a match, told after the vote."""

    left: str
    right: str


class Arena:
    """The models, clips and votes in a folder, which need not exist yet.

    Any number of threads and processes may vote at once. ``random`` draws matches, ``clock`` says the time of votes.
    """

    def __init__(
        self,
        folder: Path | None = None,
        random: np.random.Generator | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = arena_folder(folder)
        self.entries = Entries(self.folder)
        self.votes = Votes(self.folder / VOTES)
        self._matchmaker, self._clock = Matchmaker(random), clock
        self._tables: dict[tuple, tuple[tuple, Table]] = {}

    def next_match(self, voter: str, board: str, category: str | None = None) -> Match:
        """The next two clips for a voter. ConfigError if no two models share a prompt of the board and category."""
        clips = self._clips(board, category)
        among = candidates(clips)
        votes = self.votes.tallies(board, _files(self._clips(board)))
        draw = self._matchmaker.draw(among, votes, self.votes.seen(voter, board)) if among else None
        if draw is None:
            where = f"board {board}" + (f", category {category}" if category else "")
            raise ConfigError(f"no two models have clips of the same prompt on {where}; add some: happyhorse arena add")
        left, right = clips[draw.left, draw.prompt], clips[draw.right, draw.prompt]
        pairing = Pairing(
            match=secrets.token_hex(12),
            board=board,
            category=left.category,
            prompt=draw.prompt,
            left=draw.left,
            right=draw.right,
            left_clip=left.sha256,
            right_clip=right.sha256,
            chance=draw.chance,
            voter=voter,
        )
        self.votes.open_match(pairing, self._clock())
        return self._match(pairing, left, right)

    def match(self, match_id: str, voter: str) -> Match:
        """A match that was laid before a voter, again: to serve its files, or after a reload.

        Raises UnknownMatchError if there is none, or one of its clips has left the arena.
        """
        pairing = self._pairing(match_id, voter)
        clips = self._clips(pairing.board)
        left, right = clips.get((pairing.left, pairing.prompt)), clips.get((pairing.right, pairing.prompt))
        if left is None or right is None or (left.sha256, right.sha256) != (pairing.left_clip, pairing.right_clip):
            raise UnknownMatchError(f"a clip of match {match_id[:40]!r} has left the arena; ask for the next match")
        return self._match(pairing, left, right)

    def vote(self, match_id: str, choice: str, voter: str, seconds: float, played: bool) -> Names:
        """Records a choice and tells who made the clips. ``seconds`` were watched; ``played``: both to their ends.

        Raises VoteError if it does not count: the match is not this voter's, has had its vote, or was not played.
        """
        vote = self.votes.add(match_id, voter, choice, seconds, played, self._clock())
        return Names(vote.left, vote.right)

    def names(self, match_id: str, voter: str) -> Names:
        """Who made the clips of a match that this voter has voted on. Raises VoteError before the vote."""
        pairing = self._pairing(match_id, voter)
        if not isinstance(pairing, Vote):
            raise VoteError("names are told after the vote; choose one of the two clips first")
        return Names(pairing.left, pairing.right)

    def table(
        self,
        board: str,
        category: str | None = None,
        anchor: str | None = None,
        both_bad: str = AS_TIE,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> Table:
        """The table of a board, of all categories or one; see ``make_table``. It is kept until something changes."""
        clips = self._clips(board, category)
        files = _files(clips)
        asked = (board, category, anchor, both_bad, draws, seed)
        state = (self.votes.last(), tuple(sorted(files.items())))
        if asked not in self._tables or self._tables[asked][0] != state:
            models = sorted({model for model, _ in clips})
            votes = self.votes.tallies(board, files)
            if len(self._tables) >= TABLES_MAX:
                self._tables.clear()
            self._tables[asked] = state, make_table(votes, models, anchor, both_bad, draws, seed)
        return self._tables[asked][1]

    def shared(self, entry: Entry) -> int:
        """How many prompts of a model another one has, too."""
        others = {clip.prompt for one in self.entries.all() if one.name != entry.name for clip in one.clips}
        return sum(clip.prompt in others for clip in entry.clips)

    def _pairing(self, match_id: str, voter: str) -> Pairing:
        found = self.votes.find(match_id, voter)
        if found is None:
            raise UnknownMatchError(f"there is no match {match_id[:40]!r} of this voter; ask for the next match")
        return found

    def _clips(self, board: str, category: str | None = None) -> dict[tuple[str, str], EntryClip]:
        """The clips of a board by (model, prompt)."""
        check_board(board)
        if category is not None:
            check_category(category)
        return {
            (entry.name, clip.prompt): clip
            for entry in self.entries.all()
            for clip in entry.clips
            if clip.board == board and category in (None, clip.category)
        }

    def _match(self, pairing: Pairing, left: EntryClip, right: EntryClip) -> Match:
        left_gain, right_gain = equal_factors((left.lufs, left.gain), (right.lufs, right.gain))
        return Match(
            id=pairing.match,
            board=pairing.board,
            category=pairing.category,
            prompt=left.text,
            image=self.entries.image_path(left),
            left_clip=self.entries.shown_path(left),
            right_clip=self.entries.shown_path(right),
            left_gain=left_gain,
            right_gain=right_gain,
        )


def _files(clips: dict[tuple[str, str], EntryClip]) -> dict[tuple[str, str], str]:
    return {key: clip.sha256 for key, clip in clips.items()}
