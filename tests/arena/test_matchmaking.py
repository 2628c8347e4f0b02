"""Where the next vote is asked for: few votes, close ratings, nothing twice, and no side preferred."""

from collections import Counter

import numpy as np
import pytest

from happyhorse.arena.counts import Tally
from happyhorse.arena.matchmaking import Matchmaker, candidates, chances, unseen


def by_pair(among, votes):
    found = Counter()
    for (_, one, other), chance in zip(among, chances(among, votes), strict=True):
        found[one + other] += chance
    return found


def test_prompts_that_two_models_share_make_matches():
    clips = [("b", "p"), ("a", "p"), ("c", "q"), ("a", "r"), ("b", "r"), ("c", "r")]
    assert candidates(clips) == [("p", "a", "b"), ("r", "a", "b"), ("r", "a", "c"), ("r", "b", "c")]
    assert candidates([("a", "p"), ("b", "q")]) == []


def test_without_votes_every_pair_is_as_likely_however_many_prompts_it_has():
    among = candidates([("a", "p"), ("b", "p"), ("a", "q"), ("b", "q"), ("c", "q")])
    assert by_pair(among, []) == pytest.approx({"ab": 1 / 3, "ac": 1 / 3, "bc": 1 / 3})


def test_pairs_and_prompts_with_few_votes_come_first():
    among = candidates([(model, prompt) for model in "ab" for prompt in "pq"])
    found = chances(among, [Tally("p", "b", "a", "tie", 3)])
    assert found == pytest.approx([1 / 5, 4 / 5])  # 1 / (1 + 3) to 1
    among = candidates([(model, "p") for model in "abc"])
    pairs = by_pair(among, [Tally("p", "a", "b", "tie", 9)])
    assert pairs == pytest.approx({"ab": 1 / 21, "ac": 10 / 21, "bc": 10 / 21})


def test_close_ratings_come_before_distant_ones():
    votes = [Tally("p", one, other, choice, 10) for one, other, choice in
             (("a", "b", "tie"), ("a", "c", "left"), ("b", "c", "left"))]  # fmt: skip
    pairs = by_pair(candidates([(model, "p") for model in "abc"]), votes)
    assert pairs["ab"] > 5 * pairs["ac"] and pairs["ac"] == pytest.approx(pairs["bc"])


def test_a_voter_sees_nothing_twice_while_others_are_left():
    among = candidates([(model, prompt) for model in "abc" for prompt in "pq"])
    maker, seen = Matchmaker(np.random.default_rng(0)), Counter()
    for _ in range(3 * len(among)):
        draw = maker.draw(among, [], seen)
        seen[draw.prompt, *sorted((draw.left, draw.right))] += 1
        assert max(seen.values()) - min(seen[one] for one in among) <= 1
    assert seen == dict.fromkeys(among, 3) and unseen(among, seen) == among


def test_draws_are_seeded_and_follow_the_chances_on_both_sides():
    among = candidates([(model, prompt) for model in "abc" for prompt in "pq"])
    votes = [Tally("p", "a", "b", "left", 2), Tally("q", "b", "c", "tie", 1)]
    maker, found, number = Matchmaker(np.random.default_rng(0)), Counter(), 800
    for _ in range(number):
        draw = maker.draw(among, votes, {})
        found[draw.prompt, draw.left, draw.right] += 1
    for (prompt, one, other), chance in zip(among, chances(among, votes), strict=True):
        for sides in ((prompt, one, other), (prompt, other, one)):
            assert found[sides] / number == pytest.approx(chance / 2, abs=0.04)
    again = [Matchmaker(np.random.default_rng(5)).draw(among, votes, {}) for _ in range(2)]
    assert again[0] == again[1]


def test_a_draw_tells_its_chance():
    among = candidates([(model, prompt) for model in "ab" for prompt in "pq"])
    draw = Matchmaker(np.random.default_rng(0)).draw(among, [Tally("p", "a", "b", "tie", 3)], {})
    assert draw.chance == pytest.approx({"p": 0.2, "q": 0.8}[draw.prompt])


def test_where_nothing_is_shared_nothing_is_drawn():
    assert Matchmaker().draw([], [], {}) is None
