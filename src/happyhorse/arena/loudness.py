"""Loudness of a clip, and how its sound is multiplied so that all are heard equally loud."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from happyhorse.errors import MissingToolError

TARGET = -23.0
"""LUFS: what EBU R 128 asks of broadcasts."""
PEAK_MAX = -1.0
"""dBFS of the highest sample: the curve between samples may rise above them, by more than this only in rare sounds."""
WINDOW = 0.4
"""Seconds: the shortest sound whose loudness BS.1770 defines."""


def require_meter() -> None:
    """Raises MissingToolError if there is nothing to measure loudness with."""
    try:
        import pyloudnorm  # noqa: F401
    except ImportError as error:
        raise MissingToolError(
            "the arena plays all clips equally loud, and pyloudnorm, which measures that, is missing: "
            "pip install 'happyhorse[eval]'"
        ) from error


def integrated(audio: NDArray[np.float32], sample_rate: int) -> float | None:
    """Integrated loudness in LUFS (ITU-R BS.1770-4) of sound [1 or 2, S]; None if it is too short or too quiet.

    One channel counts as two equal ones, since that is how it is played. MissingToolError if pyloudnorm is missing.
    """
    require_meter()
    import pyloudnorm

    if audio.shape[1] < WINDOW * sample_rate:
        return None
    played = np.repeat(audio, 2, axis=0) if len(audio) == 1 else audio
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # silence is no mistake of the meter's
        value = float(pyloudnorm.Meter(sample_rate).integrated_loudness(played.T.astype(np.float64)))
    return value if math.isfinite(value) else None


def peak(audio: NDArray[np.float32]) -> float:
    """The highest absolute sample of sound [channels, S]."""
    return float(np.abs(audio).max(initial=0))


def gain(lufs: float | None, highest: float) -> float:
    """Decibels that bring a clip to TARGET, or as near as its peak allows; 0 for one without a loudness."""
    if lufs is None or highest <= 0:
        return 0.0
    return min(TARGET - lufs, PEAK_MAX - 20 * math.log10(highest))


def equal_factors(left: tuple[float | None, float], right: tuple[float | None, float]) -> tuple[float, float]:
    """What the sounds of two clips, (LUFS, gain in dB) each, are multiplied by to be equally loud.

    Where one's peaks keep it below TARGET, the other is brought down to it. A clip without a loudness stays as it is.
    """
    reached = min((lufs + decibels for lufs, decibels in (left, right) if lufs is not None), default=TARGET)
    first, second = (1.0 if lufs is None else 10 ** ((reached - lufs) / 20) for lufs, _ in (left, right))
    return first, second
