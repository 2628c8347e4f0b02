"""Does the mouth move as the voice sounds? Mouth opening from pixels against the envelope of the waveform.

Shapes: frames [F, height, width, 3] uint8 at 24 per second; waveform [S] at 24 kHz. Frame f belongs to the sound from
f / 24 to (f + 1) / 24. Places are in units of half the shorter side from the middle of the picture, y downwards.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE

Floats = NDArray[np.float64]

SAMPLES_PER_FRAME = SAMPLE_RATE // FPS
MOUTH_AT = (0.0, 0.40)
MOUTH_HALF_AXES = (0.32, 0.24)
"""The ellipse around a portrait's mouth: inside of the face even where long dark hair hangs beside the chin."""
DARK, PALE = 0.45, 0.75
"""A pixel is fully dark below, and not at all above, these shares of the skin's brightness."""
LAG_MAX = 3
"""Frames by which the sound may be shifted in the search for the best correlation."""


@dataclasses.dataclass(frozen=True)
class LipSync:
    """How well a mouth follows a voice."""

    correlation: float
    """Pearson correlation at the best lag; 0 if the mouth or the voice never moves."""
    lag: int
    """Frames by which the sound is later than the mouth, at the best correlation."""


def lip_sync(frames: NDArray[np.uint8], waveform: NDArray[np.floating], within: int = LAG_MAX) -> LipSync:
    """Correlation of mouth opening and speech envelope, at the best lag of at most ``within`` frames."""
    return best_lag(mouth_opening(frames), speech_envelope(waveform, len(frames)), within)


def mouth_opening(frames: NDArray[np.uint8]) -> Floats:
    """Dark share of the mouth's surroundings in each frame, above the clip's closed state, [F]."""
    y, x = _places(*frames.shape[1:3])
    inside = ((x - MOUTH_AT[0]) / MOUTH_HALF_AXES[0]) ** 2 + ((y - MOUTH_AT[1]) / MOUTH_HALF_AXES[1]) ** 2 < 1
    bright = np.asarray(frames[:, inside], np.float64) @ np.array([0.299, 0.587, 0.114])
    skin = float(np.percentile(bright, 75))
    dark = np.clip((PALE - bright / max(skin, 1.0)) / (PALE - DARK), 0, 1).mean(axis=1)
    return np.maximum(dark - np.percentile(dark, 10), 0)


def _places(height: int, width: int) -> tuple[NDArray, NDArray]:
    """y [height, 1] and x [1, width] of the pixels' middles."""
    unit = 2 / min(height, width)
    return (np.arange(height)[:, None] - (height - 1) / 2) * unit, (np.arange(width)[None] - (width - 1) / 2) * unit


def speech_envelope(waveform: NDArray[np.floating], frames: int) -> Floats:
    """Loudness (rms) of the sound of each frame, [frames], smoothed over three."""
    samples = np.zeros(frames * SAMPLES_PER_FRAME)
    samples[: min(len(waveform), len(samples))] = waveform[: len(samples)]
    loudness = np.sqrt(np.square(samples).reshape(frames, SAMPLES_PER_FRAME).mean(axis=1))
    return np.convolve(np.pad(loudness, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")


def best_lag(mouth: Floats, voice: Floats, within: int = LAG_MAX) -> LipSync:
    """The shift of ``voice`` [F] against ``mouth`` [F] at which they correlate best; of equals the smallest."""
    lags = sorted(range(-within, within + 1), key=abs)
    correlations = [_correlation(*_shifted(mouth, voice, lag)) for lag in lags]
    best = int(np.argmax(correlations))
    return LipSync(correlations[best], lags[best])


def _shifted(mouth: Floats, voice: Floats, lag: int) -> tuple[Floats, Floats]:
    """The overlapping parts when the voice is ``lag`` frames later than the mouth."""
    frames = len(mouth)
    return mouth[max(0, -lag) : frames - max(0, lag)], voice[max(0, lag) : frames - max(0, -lag)]


def _correlation(first: Floats, second: Floats) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return float((first * second).sum() / scale) if scale > 1e-9 else 0.0
