"""Bradley-Terry ratings by maximum likelihood, on the scale of Elo, with intervals over prompts.

Model i is preferred to model j with probability sigmoid(r_i - r_j): Bradley and Terry, "Rank analysis of incomplete
block designs" (1952). A rating is 400 / ln 10 * r + 1000, so that 400 points are odds of ten to one. N models, D draws.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from happyhorse.arena.counts import AS_TIE, Counts, win_matrix
from happyhorse.arena.graph import comparable
from happyhorse.arena.intervals import interval, prompt_weights

Floats = NDArray[np.float64]

ELO = 400 / math.log(10)
"""Points of a rating for each natural unit of strength."""
MIDDLE = 1000.0
"""The rating of the anchor, or the mean of all."""
DRAWS = 1000
HALF_TIE = 0.5
"""Votes that a weak prior counts for."""
_ITERATIONS_MAX = 500
_CLOSE = 1e-9
"""Steps that are shorter, in units of strength, end the search: 2e-7 points."""
_ROOM = 1_000_000
"""Numbers in the matrices of the draws that are fitted at once: 8 MB each."""


def strengths(wins: Floats, prior: float = 0.0) -> Floats:
    """The most likely strengths r [..., N] behind ``wins`` [..., N, N], of the row over the column.

    Without a prior, chains of wins must lead from each model to each other (``graph.comparable``); the mean is then 0.
    ``prior`` is the weight, in votes, of a tie of every model with one of strength 0, with which any wins will do.
    """
    found = np.zeros(wins.shape[:-1])
    for _ in range(_ITERATIONS_MAX):
        step = _newton_step(found, wins, prior)
        span = step.max(axis=-1, initial=0) - step.min(axis=-1, initial=0)
        found = found + _damping(span)[..., None] * step
        if span.max(initial=0) < _CLOSE:
            # Without a prior nothing but rounding moves the mean, and nothing else would bring it back.
            return found if prior else found - found.mean(axis=-1, keepdims=True)
    raise AssertionError(f"no convergence: a step still spans {span.max():.3g}")


def gradient(found: Floats, wins: Floats, prior: float = 0.0) -> Floats:
    """Of the log likelihood of ``wins`` [..., N, N] by strengths, at ``found`` [..., N].

    It is a sum over upsets: the difference of votes and expected votes would lose the digits of a rare upset.
    """
    upsets = wins * preferred(-found)
    return (upsets - np.swapaxes(upsets, -1, -2)).sum(axis=-1) - prior * (sigmoid(found) - 0.5)


def preferred(found: Floats) -> Floats:
    """[..., N, N]: the probability that the row is preferred to the column."""
    return sigmoid(found[..., :, None] - found[..., None, :])


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), exact to the last digits at both ends."""
    return np.exp(-np.logaddexp(0, -x))


def _newton_step(found: Floats, wins: Floats, prior: float) -> Floats:
    likely = preferred(found)
    information = (wins + np.swapaxes(wins, -1, -2)) * likely * np.swapaxes(likely, -1, -2)
    own = information.sum(axis=-1) + prior * sigmoid(found) * sigmoid(-found)
    curvature = own[..., None] * np.eye(wins.shape[-1]) - information
    if not prior:  # only differences count: the ones make the matrix invertible, and keep the mean at 0
        curvature = curvature + 1
    return np.linalg.solve(curvature, gradient(found, wins, prior)[..., None])[..., 0]


def _damping(span: Floats) -> Floats:
    """How much of a Newton step is taken, such that the likelihood always grows.

    Along a step that moves two strengths apart by ``span`` the curvature changes by a factor of exp(span) at most; the
    best step against that bound is ln(1 + span) / span: Sun and Tran-Dinh, "Generalized self-concordant functions"
    (2019).
    """
    return np.where(span > 0, np.log1p(span) / np.maximum(span, np.finfo(float).tiny), 1)


@dataclasses.dataclass(frozen=True)
class Ratings:
    """Ratings of models that can be compared with each other."""

    models: tuple[str, ...]
    values: Floats
    """[N]"""
    draws: Floats
    """[D, N]: ratings under weights of prompts that were drawn at random."""
    prompts: tuple[int, ...]
    """[N]: on how many prompts a model was compared with the others."""

    def intervals(self) -> Floats:
        """[N, 2]: 95 % intervals; nan for a model that was compared on one prompt only."""
        return np.array([interval(self.draws[:, i], count) for i, count in enumerate(self.prompts)]).reshape(-1, 2)

    def ranks(self) -> list[int | None]:
        """One more than the number of models whose interval lies above the model's own; None for one without any."""
        low, high = self.intervals().T
        return [None if math.isnan(own) else 1 + int((low > own).sum()) for own in high]

    def difference(self, one: str, other: str) -> tuple[float, float, float]:
        """By how much ``one`` is rated above ``other``, with its 95 % interval."""
        first, second = self.models.index(one), self.models.index(other)
        low, high = interval(
            self.draws[:, first] - self.draws[:, second], min(self.prompts[first], self.prompts[second])
        )
        return float(self.values[first] - self.values[second]), low, high


def rate(
    counts: Counts, both_bad: str = AS_TIE, anchor: str | None = None, draws: int = DRAWS, seed: int = 0
) -> list[Ratings]:
    """Ratings of every class of two or more models that can be compared, the largest class first.

    ``both_bad`` is one of ``counts.BOTH_BAD_RULES``. ``anchor`` is the model whose rating is 1000; in a class without
    it, the mean is.
    """
    found = comparable(counts.wins(both_bad))
    scores = counts.scores(both_bad)
    return [_rate(counts, scores, members, anchor, draws, seed) for members in found if len(members) > 1]


def _rate(counts: Counts, scores: Floats, members: Sequence[int], anchor: str | None, draws: int, seed: int) -> Ratings:
    inside = np.isin(counts.pairs, members).all(axis=1)
    mine = scores[:, inside]
    used = mine.any(axis=(1, 2))
    weights = np.concatenate([np.ones((1, used.sum())), prompt_weights(int(used.sum()), draws, seed)])
    pairs = np.searchsorted(members, counts.pairs[inside])
    found = np.concatenate(
        [
            strengths(win_matrix(np.tensordot(part, mine[used], 1), pairs, len(members)))
            for part in np.array_split(weights, 1 + len(weights) * len(members) ** 2 // _ROOM)
        ]
    )
    models = tuple(counts.models[member] for member in members)
    middle = found[:, models.index(anchor)] if anchor in models else found.mean(axis=1)
    values = MIDDLE + ELO * (found - middle[:, None])
    prompts = [int(mine[:, (pairs == member).any(axis=1)].any(axis=(1, 2)).sum()) for member in range(len(members))]
    return Ratings(models, values[0], values[1:], tuple(prompts))


def provisional(wins: Floats) -> Floats:
    """Strengths [N] of all models, compared or not, each held by half a tie with a model of strength 0: for matches."""
    return strengths(wins, HALF_TIE)
