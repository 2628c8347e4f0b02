"""Resampling by the spectrum: sines stay sines, lengths are exact, and the numbers are those of scipy."""

import math

import pytest
import torch

from happyhorse.codecs.resample import fourier_resample, from_44100, to_44100


def sine(samples: int, turns: int, phase: float = 0.3) -> torch.Tensor:
    """``turns`` whole periods in ``samples`` samples, float64."""
    return torch.sin(2 * math.pi * turns * torch.arange(samples, dtype=torch.float64) / samples + phase)


@pytest.mark.parametrize(("before", "after"), [(512, 441), (441, 512), (100, 33), (33, 100), (64, 64), (7, 4), (4, 7)])
def test_a_sine_stays_that_sine(before, after):
    turns = (min(before, after) - 1) // 2
    torch.testing.assert_close(fourier_resample(sine(before, turns), after), sine(after, turns))


@pytest.mark.parametrize("after", [1, 2, 5, 8])
def test_a_constant_stays_constant(after):
    torch.testing.assert_close(fourier_resample(torch.full((2, 6), 0.7), after), torch.full((2, after), 0.7))


@pytest.mark.parametrize(("before", "after"), [(64, 50), (64, 51), (63, 50), (63, 51), (50, 64), (51, 63), (50, 50)])
def test_same_numbers_as_scipy(before, after):
    signal = pytest.importorskip("scipy.signal")
    waveform = torch.randn(2, before, dtype=torch.float64)
    expected = torch.from_numpy(signal.resample(waveform.numpy(), after, axis=-1))
    torch.testing.assert_close(fourier_resample(waveform, after), expected)


def test_more_samples_and_back_is_nothing_done():
    waveform = torch.randn(3, 2, 101)
    torch.testing.assert_close(fourier_resample(fourier_resample(waveform, 128), 101), waveform)


def test_sound_for_a_file_is_that_of_the_authors_code(golden):
    case = golden("prepost")
    resampled = to_44100(case["audio.in"].T)
    assert resampled.dtype == torch.float32
    assert case.error("audio.resampled", resampled.T) < 1e-5


@pytest.mark.parametrize("samples", [1, 2, 440, 441, 1000, 44_100, 88_201])
def test_a_file_s_length_survives_the_way_to_the_codec_and_back(samples):
    there = from_44100(torch.zeros(1, samples))
    assert there.shape[-1] == math.ceil(samples * 512 / 441)
    assert to_44100(there).shape[-1] == samples


def test_the_input_is_left_alone():
    waveform = sine(64, 3)
    before = waveform.clone()
    fourier_resample(waveform, 32)
    assert torch.equal(waveform, before)
