"""BS.1770 on tones whose loudness is known, and gains that make two clips equal."""

import math
import sys

import numpy as np
import pytest

from happyhorse.arena.loudness import equal_factors, gain, integrated, peak
from happyhorse.errors import MissingToolError

RATE = 48_000


def tone(level: float, channels: int = 2, seconds: float = 2.0) -> np.ndarray:
    """A sine of 997 Hz, where the weighting is 0 dB: its loudness is that of its level."""
    wave = level * np.sin(2 * np.pi * 997 * np.arange(round(seconds * RATE)) / RATE)
    return np.repeat(wave[None], channels, axis=0).astype(np.float32)


@pytest.mark.parametrize("decibels", [-6.0, -20.0, -23.0, -40.0])
def test_a_tone_on_both_sides_is_as_loud_as_its_level(decibels):
    # BS.1770: 997 Hz at 0 dBFS in one channel is -3.01 LUFS, so in two it is 0.
    assert integrated(tone(10 ** (decibels / 20)), RATE) == pytest.approx(decibels, abs=0.05)


def test_one_channel_is_played_on_both_sides():
    assert integrated(tone(0.1, channels=1), RATE) == pytest.approx(integrated(tone(0.1), RATE), abs=1e-6)


def test_silence_and_moments_have_no_loudness():
    assert integrated(np.zeros((2, RATE), np.float32), RATE) is None
    assert integrated(tone(0.5, seconds=0.3), RATE) is None


def test_a_gain_brings_a_clip_to_minus_23_unless_its_peaks_forbid():
    assert gain(-13.0, 0.5) == -10
    assert gain(-30.0, 0.1) == 7
    assert gain(-33.0, 0.5) == pytest.approx(20 * math.log10(2) - 1)  # not 10
    assert gain(None, 0.5) == 0 and gain(None, 0.0) == 0
    for lufs, highest in ((-40.0, 0.9), (-23.0, 1.2), (-10.0, 1.0)):
        assert highest * 10 ** (gain(lufs, highest) / 20) < 1


@pytest.mark.parametrize("levels", [(0.5, 0.01), (0.02, 0.03)])
def test_two_clips_are_equally_loud(levels):
    sounds = [tone(level) for level in levels]
    sounds[0][:, 10] = 0.9  # a click that keeps the first from being made much louder
    loud = [integrated(sound, RATE) for sound in sounds]
    gains = [gain(lufs, peak(sound)) for lufs, sound in zip(loud, sounds, strict=True)]
    factors = equal_factors(*zip(loud, gains, strict=True))
    heard = [sound * factor for sound, factor in zip(sounds, factors, strict=True)]
    first, second = (integrated(sound, RATE) for sound in heard)
    assert first == pytest.approx(second, abs=0.01) and first <= -23 + 0.01
    assert max(map(peak, heard)) < 1


def test_a_silent_clip_leaves_the_other_as_it_is_asked_to_be():
    assert equal_factors((None, 0.0), (-13.0, -10.0)) == (1.0, pytest.approx(10 ** (-10 / 20)))
    assert equal_factors((None, 0.0), (None, 0.0)) == (1.0, 1.0)


def test_a_missing_meter_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    with pytest.raises(MissingToolError, match=r"pip install 'happyhorse\[eval\]'"):
        integrated(tone(0.1), RATE)
