"""Which two models a voter compares next, and on which prompt: where a vote says most."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from happyhorse.arena.counts import Tally, count
from happyhorse.arena.ratings import preferred, provisional

Candidate = tuple[str, str, str]
"""Prompt, and two models that have a clip of it, sorted by name."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """What was chosen, and with what probability: ratings could be weighted by its inverse."""

    prompt: str
    left: str
    right: str
    chance: float
    """Of these two models and this prompt, on any sides."""


def candidates(clips: Iterable[tuple[str, str]]) -> list[Candidate]:
    """Every prompt with every two models that share it, from (model, prompt) of each clip."""
    by_prompt: dict[str, set[str]] = {}
    for model, prompt in clips:
        by_prompt.setdefault(prompt, set()).add(model)
    return [
        (prompt, one, other)
        for prompt, models in sorted(by_prompt.items())
        for one in sorted(models)
        for other in sorted(models)
        if one < other
    ]


def chances(among: Sequence[Candidate], votes: Sequence[Tally]) -> np.ndarray:
    """With what probability each candidate comes next, given all votes on the board.

    Two models come in proportion to p (1 - p) / (1 + n): a vote whose outcome is uncertain says most about the
    difference of two ratings (p (1 - p) is its Fisher information), and the less the more votes n there are. Then a
    prompt comes in proportion to 1 / (1 + n) of its votes on these two.
    """
    likely = _likely(among, votes)
    on_pair, on_prompt = Counter(), Counter()
    for prompt, left, right, _, number in votes:
        pair = (left, right) if left < right else (right, left)
        on_pair[pair] += number
        on_prompt[prompt, *pair] += number
    prompt_weight = {one: 1 / (1 + on_prompt[one]) for one in among}
    in_pair: dict[tuple[str, str], float] = {}
    for one in among:
        in_pair[one[1:]] = in_pair.get(one[1:], 0) + prompt_weight[one]
    found = np.array(
        [
            _information(likely[one, other], on_pair[one, other])
            * prompt_weight[prompt, one, other]
            / in_pair[one, other]
            for prompt, one, other in among
        ]
    )
    return found / found.sum()


def _likely(among: Sequence[Candidate], votes: Sequence[Tally]) -> dict[tuple[str, str], float]:
    """How likely the first of two models is preferred, as far as is known, for each pair of candidates."""
    pooled = Counter()
    for _, left, right, choice, number in votes:
        pooled[left, right, choice] += number
    pairs = {(one, other) for _, one, other in among}
    models = sorted({name for pair in [*pairs, *(key[:2] for key in pooled)] for name in pair})
    counts = count([Tally("", left, right, choice, number) for (left, right, choice), number in pooled.items()], models)
    found = preferred(provisional(counts.wins()))
    index = {name: number for number, name in enumerate(models)}
    return {(one, other): float(found[index[one], index[other]]) for one, other in pairs}


def _information(likely: float, votes: int) -> float:
    return likely * (1 - likely) / (1 + votes)


def unseen(among: Sequence[Candidate], seen: Mapping[Candidate, int]) -> list[Candidate]:
    """The candidates that a voter has voted on least often: those never seen, while there are any."""
    least = min((seen.get(one, 0) for one in among), default=0)
    return [one for one in among if seen.get(one, 0) == least]


class Matchmaker:
    """Draws matches by ``chances``, with sides at random."""

    def __init__(self, random: np.random.Generator | None = None) -> None:
        self.random = random or np.random.default_rng()

    def draw(self, among: Sequence[Candidate], votes: Sequence[Tally], seen: Mapping[Candidate, int]) -> Draw | None:
        """The next match of a voter who has voted on ``seen``; None if no two models share a prompt."""
        left_over = unseen(among, seen)
        if not left_over:
            return None
        probabilities = chances(left_over, votes)
        chosen = int(self.random.choice(len(left_over), p=probabilities))
        prompt, *pair = left_over[chosen]
        left, right = pair if self.random.random() < 0.5 else reversed(pair)
        return Draw(prompt, left, right, float(probabilities[chosen]))
