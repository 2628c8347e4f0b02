"""Do sound and picture agree? Onsets in a waveform, impacts in pixels, and how well they match one to one.

A clip is judged by what it shows and sounds like; the truth of a procedural scene only validates these detectors.

Shapes: waveform [S] float at 24 kHz; frames [F, height, width, 3] uint8 at 24 per second; times in seconds from the
start of the clip. Frame f shows the instant f / 24.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE

Floats = NDArray[np.float64]

TOLERANCE = 1 / FPS
"""Sound and picture belong together within one frame (42 ms)."""

# ------------------------------------------------------------------------------------------------------------- matching


@dataclasses.dataclass(frozen=True)
class Matching:
    """Events paired one to one with the sounds nearest to them in time."""

    events: int
    """Events seen (or known)."""
    onsets: int
    """Onsets heard."""
    offsets: tuple[float, ...]
    """Onset minus event of every pair, in seconds: positive when the sound is late."""

    @property
    def recall(self) -> float:
        """Share of the events that are heard; nan without events."""
        return len(self.offsets) / self.events if self.events else float("nan")

    @property
    def precision(self) -> float:
        """Share of the onsets that belong to an event; nan without onsets."""
        return len(self.offsets) / self.onsets if self.onsets else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; nan if there is nothing to see and nothing to hear."""
        total = self.events + self.onsets
        return 2 * len(self.offsets) / total if total else float("nan")


def match(
    events: Sequence[float] | Floats,
    onsets: Sequence[float] | Floats,
    tolerance: float = TOLERANCE,
    span: tuple[float, float] = (-math.inf, math.inf),
) -> Matching:
    """The largest one-to-one pairing of ``events`` and ``onsets`` at most ``tolerance`` seconds apart.

    Among the largest ones, the pairing with the least total distance: found by dynamic programming over both sorted
    lists, since pairs on a line never need to cross. Events and onsets outside of ``span`` count only if they are
    paired: at the very ends of a clip one can be heard that cannot be seen, or the other way round.
    """
    left, right = sorted(map(float, events)), sorted(map(float, onsets))
    columns = len(right) + 1
    best: list[list[tuple[int, float]]] = [[(0, 0.0)] * columns for _ in range(len(left) + 1)]
    for i, event in enumerate(left, 1):
        for j, onset in enumerate(right, 1):
            choice = max(best[i - 1][j], best[i][j - 1])
            if abs(onset - event) <= tolerance:
                pairs, distance = best[i - 1][j - 1]
                choice = max(choice, (pairs + 1, distance - abs(onset - event)))
            best[i][j] = choice
    pairs = _pairs(best, left, right)
    paired_left, paired_right = {i for i, _ in pairs}, {j for _, j in pairs}
    return Matching(
        events=sum(i in paired_left or span[0] <= time <= span[1] for i, time in enumerate(left)),
        onsets=sum(j in paired_right or span[0] <= time <= span[1] for j, time in enumerate(right)),
        offsets=tuple(right[j] - left[i] for i, j in pairs),
    )


def _pairs(best: list[list[tuple[int, float]]], left: Sequence[float], right: Sequence[float]) -> list[tuple[int, int]]:
    """Walks the table of ``match`` back from its corner."""
    i, j, found = len(left), len(right), []
    while i and j:
        if best[i][j] == best[i - 1][j]:
            i -= 1
        elif best[i][j] == best[i][j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            found.append((i, j))
    return found[::-1]


# --------------------------------------------------------------------------------------------------------------- sound


@dataclasses.dataclass(frozen=True)
class OnsetDetector:
    """Spectral flux on log-compressed bands, as in Boeck and Widmer 2013 ("SuperFlux") without its vibrato filter."""

    hop: int = 48
    """Samples between two columns: 2 ms."""
    window: int = 512
    """Samples under the window: 21 ms, long enough for a 100 Hz thud and for hiss to average out."""
    bands: int = 24
    """Bands, evenly spaced in log frequency from 80 Hz to 12 kHz."""
    lag: int = 7
    """Columns between the two that are compared: 14 ms."""
    range_db: float = 40.0
    """What is this far below the loudest band of the clip counts as silence."""
    floor_db: float = -60.0
    """What is this far below full scale counts as silence in any clip."""
    rise_db: float = 2.5
    """Least mean rise of the bands over ``lag`` columns."""
    share: float = 0.35
    """Least rise as a share of the clip's strong rises (95th percentile of its peaks)."""
    refractory: float = 0.12
    """Seconds after an onset in which no weaker one is heard."""
    lead: float = 0.004
    """Seconds by which the steepest rise under the window precedes the onset, measured on real scenes."""

    def __call__(self, waveform: NDArray[np.floating]) -> Floats:
        """Onset times in seconds of a waveform [S]."""
        flux = self.flux(waveform)
        peaks = self._peaks(flux)
        return np.array([self._time(flux, peak) for peak in peaks], np.float64)

    def flux(self, waveform: NDArray[np.floating]) -> Floats:
        """Mean rise of the bands in dB at every column, [columns]; column j around sample hop * j + window / 2."""
        level = self._band_levels(waveform)
        before = np.pad(level, ((self.lag, 0), (0, 0)), mode="edge")[: len(level)]
        rise = np.maximum(level - before, 0).mean(axis=1)
        return np.convolve(rise, np.array([0.25, 0.5, 0.25]), mode="same")

    def _band_levels(self, waveform: NDArray[np.floating]) -> Floats:
        """Level of each band in dB above silence, [columns, bands]."""
        # Whole windows only: padded in any way, a sound that rings on to the end of a clip would click there.
        samples = np.asarray(waveform, np.float64)
        samples = np.pad(samples, (0, max(0, self.window - len(samples))))
        segments = sliding_window_view(samples, self.window)[:: self.hop]
        taper = np.hanning(self.window)
        power = np.abs(np.fft.rfft(segments * taper, axis=1) / taper.sum() * 2) ** 2
        level = power @ band_filters(self.window, self.bands)
        silence = max(level.max() * 10 ** (-self.range_db / 10), 10 ** (self.floor_db / 10))
        return 10 * np.log10(np.maximum(level, silence) / silence)

    def _peaks(self, flux: Floats) -> list[int]:
        """Columns of the peaks that are high enough, strongest first choice within the refractory time."""
        middle = flux[1:-1]
        tops = np.flatnonzero((middle > flux[:-2]) & (middle >= flux[2:])) + 1
        tops = tops[flux[tops] >= self.rise_db]
        if not len(tops):
            return []
        tops = tops[flux[tops] >= self.share * np.percentile(flux[tops], 95)]
        kept: list[int] = []
        distance = self.refractory * SAMPLE_RATE / self.hop
        for top in tops[np.argsort(-flux[tops], kind="stable")]:
            if all(abs(top - other) >= distance for other in kept):
                kept.append(int(top))
        return sorted(kept)

    def _time(self, flux: Floats, peak: int) -> float:
        # Column j compares its window with the one ``lag`` columns before: the rise is in their middle.
        column = peak + parabolic(flux, peak) - self.lag / 2
        return (column * self.hop + self.window / 2) / SAMPLE_RATE + self.lead


def band_filters(window: int, bands: int, low: float = 80.0) -> Floats:
    """Triangular filters [window / 2 + 1, bands], evenly spaced in log frequency, for power spectra at 24 kHz."""
    frequency = np.fft.rfftfreq(window, 1 / SAMPLE_RATE)
    edges = np.geomspace(low, SAMPLE_RATE / 2, bands + 2)
    # A low triangle may be narrower than a bin: it is widened to catch at least its neighbours.
    width = SAMPLE_RATE / window
    centre, left, right = edges[1:-1], np.maximum(np.diff(edges)[:-1], width), np.maximum(np.diff(edges)[1:], width)
    distance = frequency[:, None] - centre
    return np.maximum(0, 1 - np.where(distance < 0, -distance / left, distance / right))


def parabolic(values: Floats, peak: int) -> float:
    """Position of the extremum next to index ``peak``, relative to it: vertex of the parabola through three values."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    before, here, after = values[peak - 1 : peak + 2]
    bend = before - 2 * here + after
    return 0.0 if bend == 0 else float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5))
