"""Trains the foal's codecs: ``happyhorse train foal-codec``.

Video: a light variational autoencoder. The Kullback-Leibler term is small, but it lets channels that the scenes do not
need fall silent, which makes the latent easy to generate; sampling from the posterior makes the decoder forgiving of
what a generator leaves unclean.

Sound: principal components of log-mel frames (closed form), a convolutional correction of their inverse, and a vocoder
trained on spectral distances at several window lengths (Yamamoto et al. 2020, "Parallel WaveGAN", section 2.2; no
discriminator).
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.codecs import mel
from happyhorse.codecs.audio import SAMPLES_PER_FRAME, AudioCodec, AudioCodecConfig, stack_columns
from happyhorse.codecs.video import PATCH_VALUES, VideoCodec, VideoCodecConfig, fold_time
from happyhorse.config import Config
from happyhorse.data.pool import Pool, PoolGroup
from happyhorse.data.scenes.scene import FPS
from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.types import SPACE_STRIDE
from happyhorse.weights.store import save_module

Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class CodecTraining(Config):
    """One run of either codec's training."""

    steps: int
    """Optimiser steps."""
    learning_rate: float = 2e-3
    """Peak learning rate; it warms up over the first 2 % and falls to zero as a cosine."""
    seed: int = 0
    """Seed of the scenes, the windows and the noise."""
    log_every: int = 100
    """Steps between two lines of progress."""


VIDEO_GROUPS = (
    PoolGroup(height=128, width=128, clips=150, weight=4),
    PoolGroup(height=96, width=160, clips=50, weight=1),
    PoolGroup(height=160, width=96, clips=50, weight=1),
    PoolGroup(height=64, width=64, clips=120, batch=16, weight=3),
    PoolGroup(height=256, width=256, clips=60, frames=25, crop=128, weight=1),
    PoolGroup(height=512, width=512, clips=40, frames=17, crop=128, weight=1),
)

KL_WEIGHT = 1e-6
"""Per nat and latent cell, against a mean squared error over 3,072 pixel values: about the evidence bound of a pixel
noise of 0.04 (28 dB), below what the codec reaches."""


def train_video_codec(
    training: CodecTraining,
    config: VideoCodecConfig,
    groups: tuple[PoolGroup, ...] = VIDEO_GROUPS,
    report: Report = print,
) -> VideoCodec:
    """A trained video codec, with its latent scale measured."""
    torch.manual_seed(training.seed)
    pool = Pool(groups, training.seed, "train", lambda done, total: _every(done, total, "rendered", report))
    codec = VideoCodec(config)
    generator = torch.Generator().manual_seed(training.seed)
    fit_patches(codec, pool, generator)
    codec = codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = Average(codec)
    for _, log in schedule(codec, training, average, report):
        frames = pool.batch(17, generator)
        with torch.autocast("cpu", torch.bfloat16):
            mean, log_variance = codec.posterior(frames)
            latent = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            rebuilt = codec.reconstruct(latent)
        error = (rebuilt.float() - frames).square().mean()
        sharpness = (spatial_gradients(rebuilt.float()) - spatial_gradients(frames)).abs().mean()
        divergence = gaussian_divergence(mean.float(), log_variance.float())
        (error + 0.02 * sharpness + KL_WEIGHT * divergence).backward()
        log(psnr=psnr(error.item()), nats=divergence.item())
    average.copy_to(codec)
    measure_latent_scale(codec, pool, generator)
    return codec.eval()


@torch.no_grad()
def fit_patches(codec: VideoCodec, pool: Pool, generator: torch.Generator, batches: int = 150) -> None:
    """Sets the linear part from the patches of random windows; see ``principal_components``."""
    count, total, products = 0, torch.zeros(PATCH_VALUES), torch.zeros(PATCH_VALUES, PATCH_VALUES)
    for _ in range(batches):
        groups = fold_time(pool.batch(17, generator))
        patches = F.pixel_unshuffle(groups, SPACE_STRIDE).permute(0, 2, 3, 1).flatten(0, 2)
        count, total, products = count + len(patches), total + patches.sum(dim=0), products + patches.T @ patches
    mean = total / count
    components, scales = principal_components(products / count - mean[:, None] * mean, codec.config.channels)
    codec.patch_mean.copy_(mean)
    codec.components.copy_(components)
    codec.component_scales.copy_(scales)


def principal_components(covariance: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first components, orthonormal rows [count, D], and the scales [count] of their coefficients.

    A coefficient is scaled by 1 / sqrt(its standard deviation), then all by one number so that their mean square is
    one: halfway between keeping differences of size as they are (where the first component drowns the rest) and
    whitening (where components that hardly matter weigh as much as the first).
    """
    variance, vectors = torch.linalg.eigh(covariance.double())
    deviation = variance.flip(0)[:count].clamp_min(1e-8).sqrt()
    scales = deviation.rsqrt()
    scales = scales / (deviation * scales).square().mean().sqrt()
    return vectors.T.flip(0)[:count].float(), scales.float()


def spatial_gradients(frames: Tensor) -> Tensor:
    """Differences of neighbouring pixels to the right and below, stacked: [2, B, 3, F, h - 1, w - 1]."""
    here = frames[..., :-1, :-1]
    return torch.stack([frames[..., :-1, 1:] - here, frames[..., 1:, :-1] - here])


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats per latent cell: summed over channels, averaged over the rest."""
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return nats.sum(dim=1).mean()


@torch.no_grad()
def measure_latent_scale(codec: VideoCodec, pool: Pool, generator: torch.Generator) -> None:
    """Sets ``codec.scale`` so that encoded latents have a mean square of one over all channels that are in use.

    One number for all channels: a channel that carries little keeps carrying little, so that the generator's squared
    error weighs channels by what they mean to the picture.
    """
    means = [codec.posterior(pool.batch(17, generator))[0].transpose(0, 1).flatten(1) for _ in range(30)]
    square = torch.cat(means, dim=1).square().mean(dim=1)
    used = square > 0.02
    codec.scale.copy_(square[used].mean().rsqrt())


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of signals in [-1, 1]."""
    return 10 * math.log10(4 / max(mean_squared_error, 1e-12))


# ---------------------------------------------------------------------------------------------------------------- sound


def scene_sounds(seed: int, count: int, frames: int, split: str = "train") -> Tensor:
    """Waveforms [count, 1000 * frames] of scenes seed, seed + 1, ..."""
    plans = [sample_plan(seed + number, frames / FPS, split) for number in range(count)]
    sounds = [FAMILIES[plan.family].sound([plan], frames * SAMPLES_PER_FRAME, "cpu") for plan in plans]
    return torch.cat(sounds)


def train_audio_codec(
    mel_training: CodecTraining,
    vocoder_training: CodecTraining,
    config: AudioCodecConfig,
    clips: int = 600,
    report: Report = print,
) -> AudioCodec:
    """A trained sound codec: principal components, then the correction of their inverse, then the vocoder."""
    torch.manual_seed(mel_training.seed)
    sounds = scene_sounds(mel_training.seed, clips, 121)
    codec = AudioCodec(config)
    mels = torch.cat([mel.log_mel(chunk) for chunk in sounds.split(32)])
    fit_components(codec, mels)
    train_mel_decoder(codec, mels, mel_training, report)
    train_vocoder(codec, sounds, vocoder_training, report)
    return codec.eval()


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


LATENT_NOISE = 0.05
"""Noise added to latents while the decoders learn, so that they forgive what a generator leaves unclean."""


def train_mel_decoder(codec: AudioCodec, mels: Tensor, training: CodecTraining, report: Report) -> None:
    """Trains the convolutional correction on mean absolute log-mel error."""
    generator = torch.Generator().manual_seed(training.seed)
    average = Average(codec.decoder)
    for _, log in schedule(codec.decoder, training, average, report):
        rows = torch.randint(len(mels), (32,), generator=generator)
        target = mels[rows]
        latent = codec.encode_mel(target)
        latent = latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)
        error = (codec.decode_mel(latent) - target).abs().mean()
        error.backward()
        log(log_mel_error=error.item())
    average.copy_to(codec.decoder)


def train_vocoder(codec: AudioCodec, sounds: Tensor, training: CodecTraining, report: Report) -> None:
    """Trains the vocoder on windows of one second, from decoded and from true log-mels in turn."""
    generator = torch.Generator().manual_seed(training.seed)
    average = Average(codec.vocoder)
    length = 24 * SAMPLES_PER_FRAME
    for step, log in schedule(codec.vocoder, training, average, report):
        target = random_sounds(sounds, 16, length, generator)
        with torch.no_grad():
            spectrum = mel.log_mel(target)
            if step % 2:
                latent = codec.encode_mel(spectrum)
                latent = latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)
                spectrum = codec.decode_mel(latent)
        made = codec.vocoder(spectrum)
        loss = spectral_distance(made, target) + (mel.log_mel(made) - mel.log_mel(target)).abs().mean()
        loss.backward()
        log(spectral_distance=loss.item())
    average.copy_to(codec.vocoder)


def random_sounds(sounds: Tensor, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Windows [count, length] that start at frame boundaries; nearly silent ones are drawn again."""
    windows = []
    while len(windows) < count:
        row = int(torch.randint(len(sounds), (1,), generator=generator))
        start = int(torch.randint((sounds.shape[1] - length) // SAMPLES_PER_FRAME + 1, (1,), generator=generator))
        window = sounds[row, start * SAMPLES_PER_FRAME :][:length]
        if window.abs().max() > 0.02:
            windows.append(window)
    return torch.stack(windows)


STFT_WINDOWS = (128, 512, 1024, 2048)


def spectral_distance(made: Tensor, target: Tensor) -> Tensor:
    """Mean over windows of log-magnitude L1 plus spectral convergence (Yamamoto et al. 2020, equations 5 and 6)."""
    total = made.new_zeros(())
    for window in STFT_WINDOWS:
        a = mel.stft(made, window, window // 4).abs()
        b = mel.stft(target, window, window // 4).abs()
        logs = (a.clamp_min(1e-4).log() - b.clamp_min(1e-4).log()).abs().mean()
        convergence = (a - b).norm() / b.norm().clamp_min(1e-3)
        total = total + logs + convergence
    return total / len(STFT_WINDOWS)


# ------------------------------------------------------------------------------------------------------------- schedule


class Average:
    """Exponential moving average of a module's parameters, with the decay warmed up as (1 + n) / (10 + n)."""

    def __init__(self, module: nn.Module, decay: float = 0.998) -> None:
        self.decay = decay
        self.updates = 0
        self.values = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.detach() for p in module.parameters()], 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        for parameter, value in zip(module.parameters(), self.values, strict=True):
            parameter.copy_(value)


def schedule(
    module: nn.Module, training: CodecTraining, average: Average, report: Report
) -> Iterator[tuple[int, Callable[..., None]]]:
    """Yields each step and a function to log its figures; the body runs ``backward``, then the optimiser steps."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=training.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    totals: dict[str, float] = {}
    started = time.monotonic()

    def log(**figures: float) -> None:
        for name, value in figures.items():
            totals[name] = totals.get(name, 0.0) + value

    for step in range(training.steps):
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * warm_cosine(step, training.steps)
        yield step, log
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(module)
        if (step + 1) % training.log_every == 0:
            figures = " ".join(f"{name} {value / training.log_every:.4f}" for name, value in totals.items())
            left = (time.monotonic() - started) / (step + 1) * (training.steps - step - 1)
            report(f"step {step + 1}/{training.steps}  {figures}  {left / 60:.1f} min left")
            totals.clear()


def warm_cosine(step: int, steps: int) -> float:
    """Linear warm-up over the first 2 %, then a half cosine to zero."""
    warm = max(1, steps // 50)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _every(done: int, total: int, what: str, report: Report) -> None:
    if done % 50 == 0 or done == total:
        report(f"{what} {done}/{total}")


def save_codecs(folder: Path, video: VideoCodec | None = None, audio: AudioCodec | None = None) -> None:
    """Writes ``video.safetensors`` and ``audio.safetensors`` as float16 (ten bits of mantissa: rounding stays 60 dB
    below the signal)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, codec in (("video", video), ("audio", audio)):
        if codec is not None:
            save_module(codec, folder / f"{name}.safetensors", torch.float16, {})
