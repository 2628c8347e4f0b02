"""95 % intervals by the bootstrap over prompts. P prompts, D draws.

Votes on one prompt stand or fall together: resampled singly they would make intervals too narrow. Weights are drawn,
and not counts: Rubin, "The Bayesian bootstrap" (1981). No prompt ever falls out of a draw, so that chains of wins lead
in every draw where they lead in all votes, and every draw has a finite best fit.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

COVERAGE = 0.95
_GRID = 20_001


def prompt_weights(prompts: int, draws: int, seed: int) -> Floats:
    """[D, P]: how much each prompt counts in each draw, 1 on average."""
    return np.random.default_rng(seed).exponential(size=(draws, prompts))


def interval(draws: Floats, prompts: int) -> tuple[float, float]:
    """Low and high end behind draws [D] that rest on so many prompts; nan for one prompt, which says nothing."""
    if prompts < 2:
        return math.nan, math.nan
    share = tail(prompts)
    low, high = np.quantile(draws, [share, 1 - share])
    return float(low), float(high)


@functools.lru_cache(maxsize=1024)
def tail(prompts: int) -> float:
    """The share of draws beyond each end: 0.025 for many prompts, less for few.

    The quantiles of the draws themselves cover too little with few prompts. They are replaced by those that turn an
    interval of normal quantiles into one of Student's t with P - 1 degrees of freedom: the expanded percentile interval
    of Hesterberg, "What teachers should know about the bootstrap" (2015). The variance of a weighted mean over the
    draws is that of the data over P + 1, and should be over P - 1.
    """
    wide = student_quantile((1 + COVERAGE) / 2, prompts - 1) * math.sqrt((prompts + 1) / (prompts - 1))
    return 0.5 * math.erfc(wide / math.sqrt(2))


def student_quantile(probability: float, freedom: int) -> float:
    """Of Student's t: with t = sqrt(freedom) tan(a), the density of the angle a is that of cos(a) ** (freedom - 1)."""
    angle = np.linspace(-math.pi / 2, math.pi / 2, _GRID)
    density = np.cos(angle).clip(0) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(probability, below / below[-1], angle)))
