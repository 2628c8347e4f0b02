"""Sound from one sample rate to another by cutting or padding its spectrum.

The public sound codec hears and makes sound as if it were sampled at 51,200 Hz, which gives one latent per video frame;
files hold 44,100 Hz. The ratio of the two is 441 / 512.

The whole waveform is one period to the Fourier transform, so that its two ends touch: exact for what is periodic in it
(a whole number of sine waves stays a sine), and the same numbers as ``scipy.signal.resample``.
"""

from __future__ import annotations

import torch
from torch import Tensor

CODEC_RATE = 51_200
"""Samples per second of the sound that the codec hears and makes."""
FILE_RATE = 44_100
"""Samples per second of the sound in files."""


def fourier_resample(waveform: Tensor, length: int) -> Tensor:
    """Waveform [..., S] to [..., length] samples over the same duration; real, of the same floating-point dtype."""
    samples = waveform.shape[-1]
    assert samples > 0 and length > 0, f"{samples} to {length} samples"
    shorter = min(samples, length)
    spectrum = torch.fft.rfft(waveform)[..., : shorter // 2 + 1].clone()
    if shorter % 2 == 0 and samples != length:
        # The highest frequency of an even length is its own mirror image; in the longer one the two stand apart.
        spectrum[..., -1] *= 2 if length < samples else 0.5
    return torch.fft.irfft(spectrum, n=length) * (length / samples)


def to_44100(waveform: Tensor) -> Tensor:
    """Sound of the codec [..., S] at 51,200 Hz to int(S * 441 / 512) samples at 44,100 Hz."""
    return fourier_resample(waveform, waveform.shape[-1] * FILE_RATE // CODEC_RATE)


def from_44100(waveform: Tensor) -> Tensor:
    """Sound of a file [..., S] at 44,100 Hz to 51,200 Hz.

    The length is rounded up to the next sample, so that ``to_44100`` gives S samples again.
    """
    return fourier_resample(waveform, -(-waveform.shape[-1] * CODEC_RATE // FILE_RATE))
