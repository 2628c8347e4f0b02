from happyhorse.arena.counts import Tally, count
from happyhorse.arena.rivals import NOTHING, Record, records


def test_each_model_has_its_side_of_every_record():
    votes = [Tally("p", "a", "b", "left", 609), Tally("q", "b", "a", "tie", 172), Tally("p", "b", "a", "left", 219)]
    found = records(count([*votes, Tally("p", "c", "a", "both-bad", 4)]))
    assert found["a", "b"] == Record(609, 219, 172, 0) and found["b", "a"] == Record(219, 609, 172, 0)
    assert found["a", "b"].rates == {"wins": 0.609, "losses": 0.219, "ties": 0.172, "both_bad": 0}
    assert found["a", "b"].score == 0.695 and found["c", "a"] == Record(0, 0, 0, 4)
    assert found["a", "b"] + found["a", "c"] == Record(609, 219, 172, 4)
    assert ("b", "c") not in found


def test_nothing_is_no_division_by_zero():
    assert NOTHING.votes == 0 and NOTHING.score == 0 and set(NOTHING.rates.values()) == {0}
