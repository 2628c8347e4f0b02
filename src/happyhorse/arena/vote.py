"""One vote: what was shown, what was chosen, and by whom."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from happyhorse.arena.names import check_board, check_category, check_model, one_of
from happyhorse.errors import ConfigError

LEFT, RIGHT, TIE, BOTH_BAD = "left", "right", "tie", "both-bad"
CHOICES = (LEFT, RIGHT, TIE, BOTH_BAD)
WATCHED_MAX = 86_400.0
"""Seconds."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
_PROMPT_ID = re.compile(r"[0-9a-f]{16}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Pairing:
    """Who meets whom in a match, and on which prompt: what its voter is not told."""

    match: str
    """The id of the match, which stands for one showing of the two clips."""
    board: str
    category: str
    prompt: str
    """The prompt's id."""
    left: str
    """The model whose clip was on the left."""
    right: str
    left_clip: str
    """SHA-256 of the file that was shown."""
    right_clip: str
    chance: float
    """Probability with which matchmaking chose these two models and this prompt."""
    voter: str
    """Opaque: who voted, as far as the arena knows."""

    def __post_init__(self) -> None:
        check_board(self.board)
        check_category(self.category)
        if check_model(self.left) == check_model(self.right):
            raise ConfigError(f"a match of {self.left} with itself; it has two models")
        _matching("match", self.match, _ID)
        _matching("voter", self.voter, _ID)
        _matching("prompt", self.prompt, _PROMPT_ID)
        _matching("left_clip", self.left_clip, _SHA256)
        _matching("right_clip", self.right_clip, _SHA256)
        _number("chance", self.chance, 1.0)


@dataclasses.dataclass(frozen=True)
class Vote(Pairing):
    """A pairing and what was chosen."""

    choice: str
    """One of CHOICES."""
    time: float
    """When, in seconds since 1970."""
    seconds: float
    """How long the voter watched."""
    played: bool
    """Whether both clips had been played to their ends; a vote without that is none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("choice", self.choice, CHOICES)
        _number("time", self.time, math.inf)
        _number("seconds", self.seconds, WATCHED_MAX)
        if self.played is not True:
            raise ConfigError("played is not true; only votes count that were made when both clips had been played")


PAIRING_FIELDS = tuple(field.name for field in dataclasses.fields(Pairing))
VOTE_FIELDS = tuple(field.name for field in dataclasses.fields(Vote))


def vote_of(values: Mapping[str, Any]) -> Vote:
    """The vote of a record with a value for each field. Raises ConfigError if it is none."""
    if set(values) != set(VOTE_FIELDS):
        raise ConfigError(f"a vote has the fields {', '.join(VOTE_FIELDS)}, and no others")
    return Vote(**values)


def _matching(what: str, value: object, pattern: re.Pattern[str]) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ConfigError(f"{str(value)[:80]!r} is no {what}; it must match {pattern.pattern}")


def _number(what: str, value: object, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most or value == math.inf:
        limit = "" if most == math.inf else f" to {most:g}"
        raise ConfigError(f"{what} is {str(value)[:80]!r}; it must be a number from 0{limit}")
