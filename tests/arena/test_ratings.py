"""Bradley-Terry: closed forms, the optimum itself, known voters, and what must not matter."""

import math

import numpy as np
import pytest

from happyhorse.arena.counts import Tally, count
from happyhorse.arena.ratings import ELO, HALF_TIE, gradient, preferred, provisional, rate, strengths


def elo(share: float) -> float:
    return 400 * math.log10(share / (1 - share))


def published(rival: str, wins: int, ties: int, losses: int) -> list[Tally]:
    """Votes of ours against a rival, each on a prompt of its own."""
    choices = ["left"] * wins + ["tie"] * ties + ["right"] * losses
    return [Tally(f"{rival}{number:04}", "ours", rival, choice) for number, choice in enumerate(choices)]


@pytest.mark.parametrize("wins, losses", [(3.0, 1.0), (841.0, 159.0), (1.0, 1.0), (1e8, 1e-4), (0.25, 7.0)])
def test_two_models_have_a_closed_form(wins, losses):
    found = strengths(np.array([[0, wins], [losses, 0]]))
    assert found[0] - found[1] == pytest.approx(math.log(wins / losses), abs=1e-8)
    assert found.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "wins, ties, losses, points, low, high", [(800, 82, 118, 289, 265, 316), (609, 172, 219, 143, 122, 164)]
)
def test_published_rates_are_known_differences(wins, ties, losses, points, low, high):
    ratings = rate(count(published("rival", wins, ties, losses)))[0]
    value, *ends = ratings.difference("ours", "rival")
    assert value == pytest.approx(elo((wins + ties / 2) / 1000), abs=1e-6)
    assert round(value) == points
    assert ends == pytest.approx([low, high], abs=4)  # the ends of a bootstrap are known to a point or two


def test_two_rivals_are_rated_through_a_third_model():
    ratings = rate(count(published("ovi", 800, 82, 118) + published("ltx", 609, 172, 219)), anchor="ours")[0]
    rated = dict(zip(ratings.models, ratings.values, strict=True))
    assert [round(rated[name]) for name in ("ours", "ltx", "ovi")] == [1000, 1000 - 143, 1000 - 289]
    assert np.ptp(ratings.draws[:, ratings.models.index("ours")]) == 0
    mean = rate(count(published("ovi", 800, 82, 118) + published("ltx", 609, 172, 219)))[0]
    assert mean.values.mean() == pytest.approx(1000)
    assert mean.difference("ours", "ovi") == pytest.approx(ratings.difference("ours", "ovi"))


def random_wins(seed: int, models: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 30, (models, models)) * (1 - np.eye(models))


def likelihood(found: np.ndarray, wins: np.ndarray, prior: float) -> float:
    """Written out: votes, and half a tie of each with one of strength 0."""
    ties = -np.logaddexp(0, -found) - np.logaddexp(0, found)
    return float((wins * np.log(preferred(found))).sum() + prior / 2 * ties.sum())


@pytest.mark.parametrize("prior", [0.0, HALF_TIE])
def test_the_gradient_is_that_of_the_likelihood(prior):
    wins, at, small = random_wins(0), np.random.default_rng(1).standard_normal(6), 1e-5
    numeric = [
        (likelihood(at + small * one, wins, prior) - likelihood(at - small * one, wins, prior)) / (2 * small)
        for one in np.eye(6)
    ]
    assert gradient(at, wins, prior) == pytest.approx(np.array(numeric), abs=1e-5)


@pytest.mark.parametrize("prior", [0.0, HALF_TIE])
def test_the_gradient_is_zero_at_the_optimum(prior):
    wins = np.stack([random_wins(seed) * scale for seed, scale in enumerate((1, 1e-3, 1e4))])
    found = strengths(wins, prior)
    assert np.abs(gradient(found, wins, prior) / wins.sum(axis=(-1, -2))[:, None]).max() < 1e-10
    for one, votes in zip(found, wins, strict=True):  # and nothing near is more likely
        for _ in range(5):
            near = one + 0.01 * np.random.default_rng(0).standard_normal(6)
            assert likelihood(near, votes, prior) < likelihood(one, votes, prior)


def test_the_optimum_is_that_of_another_algorithm():
    wins = random_wins(3)
    met, skill = wins + wins.T, np.ones(6)
    for _ in range(2000):  # minorisation and maximisation: Hunter (2004)
        skill = wins.sum(axis=1) / (met / (skill[:, None] + skill[None])).sum(axis=1)
        skill /= np.exp(np.log(skill).mean())
    assert strengths(wins) == pytest.approx(np.log(skill), abs=1e-9)


def test_ties_only_make_all_equal(voters):
    votes = [Tally("p", "a", "b", "tie", 3), Tally("q", "c", "b", "both-bad", 1), Tally("q", "a", "c", "tie", 2)]
    assert rate(count(votes))[0].values == pytest.approx(np.full(3, 1000))


def test_both_bad_is_a_tie_or_left_out():
    votes = [Tally("p", "a", "b", "left", 6), Tally("q", "b", "a", "left", 2), Tally("q", "a", "b", "both-bad", 8)]
    counts = count(votes)
    assert rate(counts)[0].difference("a", "b")[0] == pytest.approx(elo(10 / 16))
    assert rate(counts, "left-out")[0].difference("a", "b")[0] == pytest.approx(elo(6 / 8))


def test_sides_and_order_do_not_matter(voters):
    votes = voters({"a": 1.0, "b": 0.0, "c": -0.5}, np.random.default_rng(0), ties=0.3)
    swap = {"left": "right", "right": "left", "tie": "tie"}
    other = [Tally(one.prompt, one.right, one.left, swap[one.choice], one.votes) for one in reversed(votes)]
    here, there = rate(count(votes))[0], rate(count(other))[0]
    assert np.array_equal(here.values, there.values) and np.array_equal(here.draws, there.draws)


@pytest.mark.parametrize("ties, moods", [(0.0, 0.0), (0.5, 0.0), (0.3, 0.3)])
def test_known_voters_are_recovered_at_the_nominal_rate(voters, ties, moods):
    truth = {"a": 1.2, "b": 0.4, "c": 0.0, "d": -0.6}
    mean, inside, repeats = np.mean(list(truth.values())), 0, 40
    for seed in range(repeats):
        ratings = rate(count(voters(truth, np.random.default_rng(seed), 30, 4, ties, moods)), draws=300, seed=seed)[0]
        for model, (low, high) in zip(ratings.models, ratings.intervals(), strict=True):
            inside += low <= 1000 + ELO * (truth[model] - mean) <= high
    # 160 intervals of 95 %, of which those of one repeat hang together: 0.95 with a deviation of 0.03 at most.
    assert 0.88 <= inside / (4 * repeats) <= 1


def test_votes_on_one_prompt_stand_or_fall_together(voters):
    votes = voters({"a": 0.5, "b": 0.0}, np.random.default_rng(0), prompts=20, votes=20, moods=1.0)
    alone = [one._replace(prompt=f"{number}-{vote}", votes=1)
             for number, one in enumerate(votes) for vote in range(one.votes)]  # fmt: skip
    widths = [np.diff(rate(count(some))[0].difference("a", "b")[1:]) for some in (votes, alone)]
    assert widths[0] > 2 * widths[1]


def test_what_one_prompt_says_has_no_interval_and_no_rank():
    ratings = rate(count([Tally("p", "a", "b", "left", 3), Tally("p", "a", "b", "right", 1)]))[0]
    assert ratings.difference("a", "b")[0] == pytest.approx(elo(0.75))
    assert np.isnan(ratings.intervals()).all() and ratings.ranks() == [None, None]


def test_ranks_count_those_who_are_surely_better(voters):
    votes = voters({"a": 2.0, "b": 0.05, "c": 0.0}, np.random.default_rng(0), prompts=60)
    ratings = rate(count(votes))[0]
    assert dict(zip(ratings.models, ratings.ranks(), strict=True)) == {"a": 1, "b": 2, "c": 2}


def test_classes_that_cannot_be_compared_are_rated_apart():
    votes = [Tally(p, a, b, c) for p in "pq" for a, b in ("ab", "cd") for c in ("left", "right", "left")]
    votes += [Tally("p", "a", "c", "left", 50), Tally("p", "e", "a", "left")]
    found = rate(count(votes))
    assert [one.models for one in found] == [("a", "b"), ("c", "d")]  # nobody else can be compared with e
    for one in found:
        assert one.difference(*one.models)[0] == pytest.approx(elo(2 / 3)) and one.values.mean() == pytest.approx(1000)


def test_many_models_are_fitted_in_parts(voters, monkeypatch):
    votes = voters({"a": 1.0, "b": 0.0, "c": -0.5}, np.random.default_rng(0))
    whole = rate(count(votes))[0]
    monkeypatch.setattr("happyhorse.arena.ratings._ROOM", 50)
    assert rate(count(votes))[0].draws == pytest.approx(whole.draws)


def test_a_weak_prior_holds_whoever_won_everything():
    wins = np.zeros((4, 4))
    wins[0, 1], wins[2, 1], wins[1, 2] = 5, 1, 1
    found = provisional(wins)
    assert found[3] == 0 and np.isfinite(found).all() and found[0] > max(found[1:])
    assert gradient(found, wins, HALF_TIE) == pytest.approx(np.zeros(4), abs=1e-9)
