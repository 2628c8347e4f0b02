"""How often one model was preferred to another, as it was voted."""

from __future__ import annotations

import dataclasses

from happyhorse.arena.counts import Counts


@dataclasses.dataclass(frozen=True)
class Record:
    """Votes on a model, against one rival or all."""

    wins: int
    losses: int
    ties: int
    both_bad: int

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.both_bad

    @property
    def rates(self) -> dict[str, float]:
        """The share of each outcome in all votes, 0 without votes."""
        return {name: count / max(1, self.votes) for name, count in dataclasses.asdict(self).items()}

    @property
    def score(self) -> float:
        """The share of votes that were won, with half of every tie (and "both bad"); 0 without votes."""
        return (self.wins + (self.ties + self.both_bad) / 2) / max(1, self.votes)

    def __add__(self, other: Record) -> Record:
        mine, others = dataclasses.astuple(self), dataclasses.astuple(other)
        return Record(*(a + b for a, b in zip(mine, others, strict=True)))

    def reversed(self) -> Record:
        """The rival's record."""
        return Record(self.losses, self.wins, self.ties, self.both_bad)


NOTHING = Record(0, 0, 0, 0)


def records(counts: Counts) -> dict[tuple[str, str], Record]:
    """The record of each model against each rival that it has met, by (model, rival)."""
    found = {}
    for (first, second), outcomes in zip(counts.pairs, counts.outcomes.sum(axis=0), strict=True):
        one, other = counts.models[first], counts.models[second]
        found[one, other] = Record(*map(int, outcomes))
        found[other, one] = found[one, other].reversed()
    return found
