import numpy as np

from happyhorse.arena.graph import comparable, components, reach


def wins(models: int, *edges: tuple[int, int]) -> np.ndarray:
    found = np.zeros((models, models))
    for winner, loser in edges:
        found[winner, loser] = 1
    return found


def test_chains_of_any_length_are_found():
    chain = wins(9, *((i, i + 1) for i in range(8)))
    assert np.array_equal(reach(chain), np.triu(np.ones((9, 9), bool)))


def test_a_circle_can_be_compared_and_a_ladder_cannot():
    circle = wins(4, (0, 1), (1, 2), (2, 3), (3, 0))
    assert comparable(circle) == components(circle) == [(0, 1, 2, 3)]
    ladder = wins(4, (0, 1), (1, 2), (2, 3))
    assert components(ladder) == [(0, 1, 2, 3)] and comparable(ladder) == [(0,), (1,), (2,), (3,)]


def test_the_largest_class_comes_first():
    found = wins(6, (1, 0), (0, 1), (3, 4), (4, 5), (5, 3), (3, 0))
    assert comparable(found) == [(3, 4, 5), (0, 1), (2,)]
    assert components(found) == [(0, 1, 3, 4, 5), (2,)]


def test_nobody_is_no_class():
    assert comparable(wins(0)) == components(wins(0)) == []
