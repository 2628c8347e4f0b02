"""Spectra with exact column counts, an exact inverse, and columns that sit where the sound is."""

import math

import torch

from happyhorse.codecs import mel


def tone(hertz: float, samples: int) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(samples) / mel.SAMPLE_RATE)[None]


def test_a_waveform_of_whole_hops_gives_one_column_a_hop():
    assert mel.log_mel(torch.zeros(2, 5000)).shape == (2, mel.MELS, 20)


def test_istft_undoes_stft():
    waveform = torch.randn(2, 24_000)
    torch.testing.assert_close(mel.istft(mel.stft(waveform)), waveform, atol=1e-5, rtol=0)


def test_silence_sits_on_the_floor():
    assert torch.allclose(mel.log_mel(torch.zeros(1, 5000)), torch.tensor(math.log(mel.FLOOR)))


def test_a_tone_peaks_in_the_filter_that_holds_it():
    centres = 700 * (10 ** (torch.linspace(0, 2595 * math.log10(1 + 12_000 / 700), mel.MELS + 2)[1:-1] / 2595) - 1)
    for hertz in (300.0, 1000.0, 4000.0):
        peak = int(mel.log_mel(tone(hertz, 12_000)).mean(dim=2)[0].argmax())
        nearest = int((centres - hertz).abs().argmin())
        assert abs(peak - nearest) <= 1


def test_a_click_lands_in_the_column_of_its_sample():
    waveform = torch.zeros(1, 10_000)
    waveform[0, 250 * 17 + 125] = 1.0
    assert int(mel.log_mel(waveform).mean(dim=1)[0].argmax()) == 17


def test_every_filter_has_unit_sum():
    torch.testing.assert_close(mel.mel_filters().sum(dim=1), torch.ones(mel.MELS))


def test_griffin_lim_comes_closer_to_the_magnitude_than_random_phases():
    magnitude = mel.stft(tone(700.0, 12_000) + tone(1900.0, 12_000)).abs()

    def error(iterations: int) -> float:
        rebuilt = mel.griffin_lim(magnitude, iterations, torch.Generator().manual_seed(0))
        return ((mel.stft(rebuilt).abs() - magnitude).norm() / magnitude.norm()).item()

    assert error(32) < 0.2 < 2 * error(32) < error(0)
