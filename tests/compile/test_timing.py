import pytest
import torch

from happyhorse.compile import timing
from happyhorse.compile.timing import Spent, median_busy, median_wall, speedup, take_turns

CPU = torch.device("cpu")


def test_turns_are_taken_in_an_order_that_turns_round():
    seen = []
    found = take_turns({name: lambda name=name: seen.append(name) for name in "abc"}, 3, CPU)
    assert "".join(seen) == "abccbaabc"
    assert {name: len(spent) for name, spent in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_an_interrupted_round_does_not_count():
    calls = []

    def second():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    found: dict[str, list[Spent]] = {}
    with pytest.raises(KeyboardInterrupt):
        take_turns({"a": lambda: None, "b": second}, 5, CPU, found)
    assert {name: len(spent) for name, spent in found.items()} == {"a": 1, "b": 1}


def test_rounds_are_told():
    told = []
    take_turns({"a": lambda: None}, 2, CPU, on_round=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_the_cpus_clock_is_shared_among_its_threads(monkeypatch):
    monkeypatch.setattr(timing.torch, "get_num_threads", lambda: 4)
    ticks = iter([10.0, 18.0])
    monkeypatch.setattr(timing.time, "process_time", lambda: next(ticks))
    assert timing.timed(lambda: None, CPU).busy == 2.0


def test_ratios_are_taken_round_by_round():
    """One slow round of the plain way is one ratio of three, not half of a mean."""
    plain = [Spent(1, 2.0), Spent(1, 100.0), Spent(1, 2.0)]
    other = [Spent(1, 1.0), Spent(1, 1.0), Spent(1, 1.0)]
    assert speedup(plain, other) == 2.0
    assert median_busy(plain) == 2.0
    assert median_wall(plain) == 1
