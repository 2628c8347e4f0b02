"""Trains the foal's sound codec.

Principal components of log-mel frames (closed form), a convolutional correction of their inverse, and a vocoder trained
on spectral distances at several window lengths (Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2; no
discriminator).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from happyhorse.codecs import mel
from happyhorse.codecs.audio import SAMPLES_PER_FRAME, AudioCodec, stack_columns
from happyhorse.data.scenes.scene import FPS
from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.training.picture import LATENT_NOISE, principal_components

CLIP_FRAMES = 121
WINDOW_FRAMES = 24
STFT_WINDOWS = (128, 512, 1024, 2048)
AUDIBLE = 0.02
"""A window whose peak stays below this teaches the vocoder nothing."""

Figures = tuple[Tensor, Mapping[str, float]]


def scene_sounds(seed: int, count: int, frames: int = CLIP_FRAMES, split: str = "train") -> Tensor:
    """Waveforms [count, 1000 * frames] of scenes seed, seed + 1, ..."""
    plans = [sample_plan(seed + number, frames / FPS, split) for number in range(count)]
    sounds = [FAMILIES[plan.family].sound([plan], frames * SAMPLES_PER_FRAME, "cpu") for plan in plans]
    return torch.cat(sounds)


@torch.no_grad()
def fit_components(codec: AudioCodec, mels: Tensor) -> None:
    """Sets the linear part from log-mels [B, 80, 4 F]; see ``principal_components``."""
    values = stack_columns(mels).flatten(0, 1).double()
    mean = values.mean(dim=0)
    covariance = (values - mean).T @ (values - mean) / len(values)
    components, scales = principal_components(covariance, codec.config.channels)
    codec.mean.copy_(mean)
    codec.components.copy_(components)
    codec.scales.copy_(scales)


def mel_decoder_loss(codec: AudioCodec, mels: Tensor, generator: torch.Generator) -> Figures:
    """Mean absolute log-mel error of random clips through the codec."""
    target = mels[torch.randint(len(mels), (32,), generator=generator)]
    error = (codec.decode_mel(noisy_latent(codec, target, generator)) - target).abs().mean()
    return error, {"log-mel error": error.item()}


def vocoder_loss(codec: AudioCodec, sounds: Tensor, generator: torch.Generator) -> Figures:
    """Spectral and log-mel distance of random windows; half of them are read through the codec."""
    target = random_windows(sounds, 16, WINDOW_FRAMES * SAMPLES_PER_FRAME, generator)
    with torch.no_grad():
        spectrum = mel.log_mel(target)
        through = codec.decode_mel(noisy_latent(codec, spectrum[8:], generator))
        spectrum = torch.cat([spectrum[:8], through])
    made = codec.vocoder(spectrum)
    loss = spectral_distance(made, target) + (mel.log_mel(made) - mel.log_mel(target)).abs().mean()
    return loss, {"spectral distance": loss.item()}


def noisy_latent(codec: AudioCodec, spectrum: Tensor, generator: torch.Generator) -> Tensor:
    """The latent of a log-mel, with the little noise that a generator leaves."""
    latent = codec.encode_mel(spectrum)
    return latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)


def random_windows(sounds: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Windows [count, length] that start at frame boundaries; nearly silent ones are drawn again."""
    windows: list[Tensor] = []
    while len(windows) < count:
        row = int(torch.randint(len(sounds), (1,), generator=generator))
        start = int(torch.randint((sounds.shape[1] - length) // SAMPLES_PER_FRAME + 1, (1,), generator=generator))
        window = sounds[row, start * SAMPLES_PER_FRAME :][:length]
        if window.abs().max() > AUDIBLE:
            windows.append(window)
    return torch.stack(windows)


def spectral_distance(made: Tensor, target: Tensor) -> Tensor:
    """Mean over windows of log-magnitude L1 plus spectral convergence (Yamamoto et al. 2020, equations 5 and 6)."""
    total = made.new_zeros(())
    for window in STFT_WINDOWS:
        a = mel.stft(made, window, window // 4).abs()
        b = mel.stft(target, window, window // 4).abs()
        logs = (a.clamp_min(1e-4).log() - b.clamp_min(1e-4).log()).abs().mean()
        total = total + logs + (a - b).norm() / b.norm().clamp_min(1e-3)
    return total / len(STFT_WINDOWS)
