import json

import numpy as np
import pytest

from happyhorse.arena.counts import Tally
from happyhorse.arena.rivals import Record
from happyhorse.arena.table import make_table
from happyhorse.errors import ConfigError


def both_ways(one: str, other: str) -> list[Tally]:
    return [Tally(prompt, one, other, choice) for prompt in "pq" for choice in ("left", "left", "right")]


def test_a_table_has_ratings_intervals_counts_and_rivals(voters):
    votes = voters({"good": 1.0, "fair": 0.0, "poor": -1.0}, np.random.default_rng(0), prompts=50, ties=0.2)
    table = make_table([*votes, Tally("000", "fair", "good", "both-bad", 2)])
    assert [(row.model, row.group, row.rank) for row in table.rows] == [("good", 0, 1), ("fair", 0, 2), ("poor", 0, 3)]
    assert all(row.low < row.rating < row.high and row.prompts == 50 and not row.note for row in table.rows)
    assert [row.record.votes for row in table.rows] == [402, 402, 400]
    assert table.rivals["good", "fair"].both_bad == 2 and table.warnings == ()
    assert table.rivals["good", "fair"] == table.rivals["fair", "good"].reversed()
    assert json.loads(json.dumps(table.to_dict()))["rows"][0]["rates"]["both_bad"] == 2 / 402


def test_models_that_no_votes_join_are_named():
    table = make_table(both_ways("a", "b") + both_ways("c", "d"), ["a", "b", "c", "d", "e"])
    assert [(row.model, row.group) for row in table.rows] == [("a", 0), ("b", 0), ("c", 1), ("d", 1), ("e", None)]
    assert table.warnings[0].startswith("no chain of votes joins these: a, b; c, d;")
    assert table.warnings[1:] == ("e has no votes yet",)
    assert table.rows[4].note == "no votes yet" and table.rows[4].record == Record(0, 0, 0, 0)


def test_who_won_or_lost_everything_has_no_rating_and_changes_nobody_elses():
    votes = both_ways("a", "b")
    before = make_table(votes)
    table = make_table([*votes, Tally("p", "best", "a", "left", 9), Tally("q", "b", "worst", "left")])
    assert [(row.model, row.note) for row in table.rows[2:]] == [
        ("best", "won every vote"),
        ("worst", "lost every vote"),
    ]
    assert all(row.rating is row.low is row.high is row.rank is row.group is None for row in table.rows[2:])
    assert [row.rating for row in table.rows[:2]] == [row.rating for row in before.rows]
    assert table.warnings == (
        "all votes between these went one way: a, b; best; worst; until one does not, their ratings do not compare",
    )


def test_one_tie_makes_it_finite():
    table = make_table([*both_ways("a", "b"), Tally("p", "best", "a", "left", 9), Tally("q", "best", "a", "tie")])
    assert table.rows[0].model == "best" and table.rows[0].rating > 1000 and not table.warnings


def test_a_ladder_of_wins_has_no_ratings_at_all():
    table = make_table([Tally("p", "a", "b", "left"), Tally("p", "b", "c", "left")])
    notes = {row.model: row.note for row in table.rows}
    assert notes == {"a": "won every vote", "b": "every vote went one way", "c": "lost every vote"}
    assert [row.model for row in table.rows] == ["a", "b", "c"] and not table.ratings


def test_one_prompt_is_warned_of():
    table = make_table([Tally("p", "a", "b", "left", 3), Tally("p", "a", "b", "right", 1)])
    assert table.rows[0].rating > 1000 and table.rows[0].low is None and table.rows[0].rank is None
    assert table.warnings[0] == "a was compared on one prompt only: it has no interval"


def test_an_anchor_is_1000_if_it_has_a_rating():
    votes = [*both_ways("a", "b"), Tally("p", "best", "a", "left")]
    assert {row.model: row.rating for row in make_table(votes, anchor="b").rows}["b"] == pytest.approx(1000)
    assert "best has no finite rating to be 1000" in make_table(votes, anchor="best").warnings[-1]
    with pytest.raises(ConfigError, match="'c' is not on this board; its models are a, b, best"):
        make_table(votes, anchor="c")


def test_both_bad_may_be_left_out():
    votes = [*both_ways("a", "b"), Tally("p", "a", "c", "both-bad")]
    assert make_table(votes).rows[-1].group == 0
    table = make_table(votes, both_bad="left-out")
    assert table.rows[-1].note == "no votes yet" and table.rows[-1].record.both_bad == 1
    with pytest.raises(ConfigError, match="choose one of tie, left-out"):
        make_table(votes, both_bad="ignore")


def test_no_votes_make_an_empty_table():
    assert make_table([]).to_dict() == {"rows": [], "rivals": [], "warnings": []}
