"""Votes as counts, by prompt and pair of models."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from happyhorse.arena.vote import BOTH_BAD, LEFT, RIGHT, TIE, Vote
from happyhorse.errors import ConfigError

Floats = NDArray[np.float64]

AS_TIE, LEFT_OUT = "tie", "left-out"
BOTH_BAD_RULES = (AS_TIE, LEFT_OUT)


class Tally(NamedTuple):
    """How often a choice was made between two models on a prompt."""

    prompt: str
    left: str
    right: str
    choice: str
    votes: int = 1


def tallies(votes: Iterable[Vote]) -> list[Tally]:
    """Votes, counted."""
    counted = Counter((vote.prompt, vote.left, vote.right, vote.choice) for vote in votes)
    return [Tally(*key, count) for key, count in counted.items()]


@dataclasses.dataclass(frozen=True)
class Counts:
    """P prompts, N models and the K pairs of models that have met. Sides and the order of votes are gone."""

    models: tuple[str, ...]
    prompts: tuple[str, ...]
    """Those with votes."""
    pairs: NDArray[np.intp]
    """[K, 2]: which models, the first before the second."""
    outcomes: Floats
    """[P, K, 4]: votes for the first, for the second, ties, both bad."""

    def scores(self, both_bad: str = AS_TIE) -> Floats:
        """[P, K, 2]: votes for the first and for the second; a tie is half a vote for each.

        "Both bad" says, as a tie does, that neither is better. If such votes were left out, two models would be
        compared only on prompts that at least one of them can do, and what they fail at together would not count.
        """
        ties = self.outcomes[..., 2] + (self.outcomes[..., 3] if both_bad == AS_TIE else 0)
        return self.outcomes[..., :2] + ties[..., None] / 2

    def wins(self, both_bad: str = AS_TIE) -> Floats:
        """[N, N]: votes for the row against the column, over all prompts."""
        return win_matrix(self.scores(both_bad).sum(axis=0), self.pairs, len(self.models))


def win_matrix(scores: Floats, pairs: NDArray[np.intp], models: int) -> Floats:
    """[..., N, N]: votes for the row against the column, from scores [..., K, 2] of pairs [K, 2]."""
    first, second = pairs.T
    found = np.zeros((*scores.shape[:-2], models, models))
    found[..., first, second], found[..., second, first] = scores[..., 0], scores[..., 1]
    return found


def count(votes: Iterable[Tally], models: Sequence[str] = ()) -> Counts:
    """The counts of votes between ``models`` (of all that are voted on, if none are given), sorted by name."""
    kept = [vote for vote in votes if not models or (vote.left in models and vote.right in models)]
    names = sorted(set(models) or {name for vote in kept for name in (vote.left, vote.right)})
    prompts = sorted({vote.prompt for vote in kept})
    met = sorted({(min(vote.left, vote.right), max(vote.left, vote.right)) for vote in kept})
    index = {name: number for number, name in enumerate(names)}
    row = {prompt: number for number, prompt in enumerate(prompts)}
    column = {pair: number for number, pair in enumerate(met)}
    outcomes = np.zeros((len(prompts), len(met), 4))
    for vote in kept:
        first, second = sorted((vote.left, vote.right))
        outcomes[row[vote.prompt], column[first, second], _outcome(vote, first)] += vote.votes
    pairs = np.array([(index[one], index[other]) for one, other in met], np.intp).reshape(-1, 2)
    return Counts(tuple(names), tuple(prompts), pairs, outcomes)


def _outcome(vote: Tally, first: str) -> int:
    if vote.left == vote.right:
        raise ConfigError(f"a vote between {vote.left} and itself; a match has two models")
    match vote.choice:
        case str(side) if side in (LEFT, RIGHT):
            return 0 if (vote.left if side == LEFT else vote.right) == first else 1
        case _:
            assert vote.choice in (TIE, BOTH_BAD), vote.choice
            return 2 if vote.choice == TIE else 3
