import numpy as np
import pytest

from happyhorse.arena.counts import Tally, count, tallies, win_matrix
from happyhorse.errors import ConfigError


def test_votes_are_counted_by_prompt_pair_and_outcome():
    counts = count(
        [
            Tally("q", "b", "a", "left", 2),
            Tally("p", "a", "b", "left", 3),
            Tally("p", "b", "a", "right"),
            Tally("p", "b", "c", "tie", 5),
            Tally("p", "c", "b", "both-bad"),
        ]
    )
    assert (counts.models, counts.prompts, counts.pairs.tolist()) == (("a", "b", "c"), ("p", "q"), [[0, 1], [1, 2]])
    assert counts.outcomes.tolist() == [[[4, 0, 0, 0], [0, 0, 5, 1]], [[0, 2, 0, 0], [0, 0, 0, 0]]]
    assert counts.scores().sum(axis=0).tolist() == [[4, 2], [3, 3]]
    assert counts.scores("left-out").sum(axis=0).tolist() == [[4, 2], [2.5, 2.5]]
    assert counts.wins().tolist() == [[0, 4, 0], [2, 0, 3], [0, 3, 0]]


def test_votes_with_others_are_left_out_and_models_without_votes_are_there():
    counts = count([Tally("p", "a", "b", "left"), Tally("q", "a", "z", "left")], ["d", "b", "a"])
    assert (counts.models, counts.prompts) == (("a", "b", "d"), ("p",))
    assert counts.wins()[2].tolist() == [0, 0, 0]


def test_no_votes_are_no_trouble():
    counts = count([], ["a"])
    assert counts.wins().tolist() == [[0]] and counts.scores().shape == (0, 0, 2)


def test_draws_of_scores_become_matrices():
    scores = np.arange(12.0).reshape(3, 2, 2)
    found = win_matrix(scores, np.array([[0, 1], [0, 2]]), 3)
    assert found.shape == (3, 3, 3) and found[1].tolist() == [[0, 4, 6], [5, 0, 0], [7, 0, 0]]


def test_nobody_meets_themselves():
    with pytest.raises(ConfigError, match="a match has two models"):
        count([Tally("p", "a", "a", "left")])


def test_votes_become_tallies(make_vote):
    votes = [make_vote(), make_vote(match="m2", voter="v2"), make_vote(match="m3", choice="tie")]
    assert tallies(votes) == [
        Tally("0" * 16, "ours", "theirs", "left", 2),
        Tally("0" * 16, "ours", "theirs", "tie", 1),
    ]
