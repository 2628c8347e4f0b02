"""Who can be compared with whom: chains of votes and chains of wins.

Ratings of two models have a finite best fit if and only if a chain of wins (or halves of ties) leads from each to the
other: Ford, "Solution of a ranking problem from binary comparisons" (1957).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Classes = list[tuple[int, ...]]


def reach(edges: NDArray[Any]) -> Bools:
    """[N, N]: whether a chain of edges, of any length and also none, leads from row to column."""
    found = (edges > 0) | np.eye(len(edges), dtype=bool)
    for _ in range(len(edges).bit_length()):  # every squaring doubles the length of the chains
        found = found.astype(np.float32) @ found.astype(np.float32) > 0
    return found


def components(wins: NDArray[Any]) -> Classes:
    """Classes of models that chains of votes join, whoever won. ``wins`` [N, N]: of the row over the column."""
    return classes(reach(wins + wins.T))


def comparable(wins: NDArray[Any]) -> Classes:
    """Classes of models whose ratings differ by finite numbers: chains of wins lead from each to each other."""
    found = reach(wins)
    return classes(found & found.T)


def classes(same: Bools) -> Classes:
    """The classes of an equivalence [N, N], the largest first; equally large ones by their first member."""
    found = {tuple(map(int, np.flatnonzero(row))) for row in same}
    return sorted(found, key=lambda one: (-len(one), one))
