import torch

from happyhorse.memory.trace import working_bytes

MEGA = 4_000_000
"""Bytes of 1000 x 1000 numbers."""


def square() -> torch.Tensor:
    return torch.empty(1000, 1000)


def test_what_lives_together_is_counted():
    def run():
        first = square()
        second = first + 1
        return first @ second

    assert working_bytes(run) == 3 * MEGA


def test_what_is_gone_is_not():
    def run():
        kept = square()
        for _ in range(10):
            kept = kept * 2
        return kept

    assert working_bytes(run) == 2 * MEGA


def test_views_and_changes_in_place_cost_nothing():
    def run():
        first = square()
        first.add_(1)
        return first[:10].view(-1, 10), first.T, first.flatten()

    assert working_bytes(run) == MEGA


def test_nothing_is_computed_or_kept():
    """A matrix of 4 TB is no trouble."""
    assert working_bytes(lambda: torch.empty(10**6, 10**6) + 1) == 8 * 10**12
