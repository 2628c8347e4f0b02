import torch
from torch import nn

from happyhorse.memory.trace import working_bytes

MEGA = 4_000_000
"""Bytes of 1000 x 1000 numbers."""


def square() -> torch.Tensor:
    return torch.empty(1000, 1000)


def test_what_lives_together_is_counted():
    def run(_):
        first = square()
        second = first + 1
        return first @ second

    assert working_bytes(run) == 3 * MEGA


def test_what_is_gone_is_not():
    def run(_):
        kept = square()
        for _ in range(10):
            kept = kept * 2
        return kept

    assert working_bytes(run) == 2 * MEGA


def test_views_and_changes_in_place_cost_nothing():
    def run(_):
        first = square()
        first.add_(1)
        return first[:10].view(-1, 10), first.T, first.flatten()

    assert working_bytes(run) == MEGA


def test_nothing_is_computed_or_kept():
    """A matrix of 4 TB is no trouble."""
    assert working_bytes(lambda _: torch.empty(10**6, 10**6) + 1) == 8 * 10**12


def test_a_module_is_there_before_and_what_it_computes_is_not():
    def build() -> nn.Module:
        torch.empty(10**9)  # what is only needed to build it
        return nn.Linear(1000, 1000)

    assert working_bytes(lambda module: module(square()), build) == 2 * MEGA
    assert working_bytes(lambda module: module.weight.T, build) == 0
