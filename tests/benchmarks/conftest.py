"""Benchmarks are scripts beside each other, not a package."""

from pathlib import Path

import pytest


@pytest.fixture
def benchmarks(monkeypatch) -> Path:
    """Their folder, from which they can be imported."""
    folder = Path(__file__).parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder
