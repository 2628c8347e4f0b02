"""What the figures for a CPU compare does the same: else their ratios would say nothing."""

import dataclasses
import importlib

import pytest

from happyhorse.types import ClipShape


@pytest.fixture
def figures(benchmarks, monkeypatch):
    found = importlib.import_module("compile")
    monkeypatch.setattr(found, "WAYS", {})
    return found


@pytest.fixture
def little(figures):
    return dataclasses.replace(figures.QUICK, loop=ClipShape(0.5, 64, 64), render=ClipShape(0.5, 128, 128), repeats=1)


def test_the_naive_port_and_ours(figures, little):
    naive, *ours = figures.measure_naive(little)
    assert naive.faster == 1.0
    assert [row.error < 1e-5 for row in ours] == [True, True]


def test_windows_as_a_mask_and_as_ranges(figures, little):
    everything, masked, ranges = figures.measure_render(little)
    assert everything.error > 1e-3  # it is another function
    assert masked.error == 0
    assert ranges.error < 1e-5


def test_a_table(figures, little):
    shown = figures.table("a loop", figures.measure_loop(little))
    assert shown.startswith("a loop\n")
    assert "| eager |" in shown
