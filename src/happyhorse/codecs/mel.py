"""Log-mel spectrograms: the picture of sound that the audio codec codes and the vocoder reads.

24 kHz mono, hop 250 samples (96 a second, four per video frame), window 1024. Column j is centred on sample
250 j + 125, so S samples give exactly S / 250 columns and the four columns of a video frame lie inside that frame.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLE_RATE = 24_000
HOP = 250
WINDOW = 1024
MELS = 80
FLOOR = 1e-4
"""Magnitudes below this are silence: the log-mel never falls under log(FLOOR)."""


def stft(waveform: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Complex spectrum [B, window / 2 + 1, S / hop] of a waveform [B, S]; S a multiple of hop."""
    pad = (window - hop) // 2
    padded = F.pad(waveform[:, None], (pad, window - hop - pad), mode="reflect")[:, 0]
    hann = torch.hann_window(window, device=waveform.device, dtype=waveform.dtype)
    return torch.stft(padded, window, hop, window=hann, center=False, return_complex=True)


def istft(spectrum: Tensor, window: int = WINDOW, hop: int = HOP) -> Tensor:
    """Waveform [B, columns * hop] of a complex spectrum [B, window / 2 + 1, columns]: windowed overlap-add, divided by
    the sum of squared windows."""
    columns = spectrum.shape[-1]
    hann = torch.hann_window(window, device=spectrum.device, dtype=spectrum.real.dtype)
    segments = torch.fft.irfft(spectrum, window, dim=1) * hann[:, None]
    weight = hann.square()[:, None].expand(-1, columns)[None]
    length = (columns - 1) * hop + window

    def overlap_add(pieces: Tensor) -> Tensor:
        return F.fold(pieces, (1, length), (1, window), stride=(1, hop))[:, 0, 0]

    pad = (window - hop) // 2
    total = overlap_add(segments) / overlap_add(weight).clamp_min(1e-3)
    return total[:, pad : pad + columns * hop]


def log_mel(waveform: Tensor) -> Tensor:
    """Log-mel spectrogram [B, 80, S / 250] of a waveform [B, S]."""
    magnitude = stft(waveform).abs()
    return (mel_filters(magnitude.device) @ magnitude).clamp_min(FLOOR).log()


def mel_filters(device: torch.device | str = "cpu") -> Tensor:
    """Triangular filters [80, 513] evenly spaced on the mel scale m = 2595 log10(1 + f / 700), each of unit sum."""
    edges_mel = torch.linspace(0, _to_mel(SAMPLE_RATE / 2), MELS + 2, dtype=torch.float64)
    edges = 700 * (10 ** (edges_mel / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(rise, fall).clamp_min(0)
    # The lowest triangles are narrower than a bin: a filter that caught none takes its nearest bin.
    nearest = (bins - edges[1:-1, None]).abs().argmin(dim=1)
    triangles[torch.arange(MELS), nearest] += (triangles.sum(dim=1) == 0).double()
    return (triangles / triangles.sum(dim=1, keepdim=True)).float().to(device)


def _to_mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def griffin_lim(magnitude: Tensor, iterations: int = 32, generator: torch.Generator | None = None) -> Tensor:
    """Waveform [B, columns * 250] whose magnitude is close to ``magnitude`` [B, 513, columns] (Griffin, Lim 1984)."""
    noise = torch.rand(magnitude.shape, generator=generator)
    phase = torch.polar(torch.ones_like(magnitude), 2 * math.pi * noise.to(magnitude))
    for _ in range(iterations):
        rebuilt = stft(istft(magnitude * phase))
        phase = rebuilt / rebuilt.abs().clamp_min(1e-8)
    return istft(magnitude * phase)


def inverse_filters() -> Tensor:
    """Least-squares inverse [513, 80] of the mel filters."""
    return torch.linalg.pinv(mel_filters().double()).float()


def mel_to_magnitude(mel_log: Tensor, inverse: Tensor) -> Tensor:
    """Magnitude [B, 513, columns] of a log-mel [B, 80, columns] by the least-squares ``inverse``, floored."""
    return (inverse @ mel_log.exp()).clamp_min(FLOOR)
