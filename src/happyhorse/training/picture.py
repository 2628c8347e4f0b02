"""Trains the foal's video codec.

A light variational autoencoder. The Kullback-Leibler term is small, but it lets channels that the scenes do not need
fall silent, which makes the latent easy to generate; sampling from the posterior makes the decoder forgiving of what a
generator leaves unclean. Afterwards the decoder alone is trained on: its input, and so every cached latent, stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.codecs.video import PATCH_VALUES, VideoCodec, fold_time
from happyhorse.compile.machine import has_fast_bfloat16
from happyhorse.data.pool import Pool
from happyhorse.types import SPACE_STRIDE

WINDOW = 17
"""Frames in a training window: five latent frames."""

KL_WEIGHT = 1e-6
"""Per nat and latent cell, against a mean squared error over 3,072 pixel values: about the evidence bound of a pixel
noise of 0.04 (28 dB), below what the codec reaches."""

SHARPNESS_WEIGHT = 0.02
"""Weight of the mean absolute error of spatial gradients."""

DECODER_SHARPNESS_WEIGHT = 0.1
"""The same for the decoder alone: it asks for even surfaces and clean edges."""

LATENT_NOISE = 0.25
"""Up to this much noise, drawn for each clip, is on the latents that the decoder alone is trained on, as a share of
their unit size: generated latents are not clean either, and a cell's error shows as a block."""

Figures = tuple[Tensor, Mapping[str, float]]


def autoencoder_loss(codec: VideoCodec, frames: Tensor, generator: torch.Generator) -> Figures:
    """Reconstruction through a sample of the posterior, and its divergence from unit noise."""
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(frames.device)):
        mean, log_variance = codec.posterior(frames)
        noise = torch.randn(mean.shape, generator=generator)
        rebuilt = codec.reconstruct(mean + (0.5 * log_variance).exp() * noise)
    loss, error = picture_distance(rebuilt.float(), frames)
    divergence = gaussian_divergence(mean.float(), log_variance.float())
    return loss + KL_WEIGHT * divergence, {"psnr": psnr(error), "nats": divergence.item()}


def decoder_loss(codec: VideoCodec, frames: Tensor, generator: torch.Generator) -> Figures:
    """Reconstruction of the decoder from latents with some noise, less or more."""
    with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bfloat16(frames.device)):
        with torch.no_grad():
            mean = codec.posterior(frames)[0]
            level = LATENT_NOISE * torch.rand(len(mean), 1, 1, 1, 1, generator=generator)
            latent = mean + level / codec.scale * torch.randn(mean.shape, generator=generator)
        rebuilt = codec.reconstruct(latent).float()
    loss, error = picture_distance(rebuilt, frames, DECODER_SHARPNESS_WEIGHT)
    shown, true = (spatial_gradients(picture).abs().mean().item() for picture in (rebuilt.detach(), frames))
    return loss, {"psnr": psnr(error), "gradients": shown / true}


def picture_distance(made: Tensor, target: Tensor, sharpness: float = SHARPNESS_WEIGHT) -> tuple[Tensor, float]:
    """The loss, and the mean squared error in it."""
    error = (made - target).square().mean()
    edges = (spatial_gradients(made) - spatial_gradients(target)).abs().mean()
    return error + sharpness * edges, error.item()


def spatial_gradients(frames: Tensor) -> Tensor:
    """Differences of neighbouring pixels to the right and below, stacked: [2, B, 3, F, h - 1, w - 1]."""
    here = frames[..., :-1, :-1]
    return torch.stack([frames[..., :-1, 1:] - here, frames[..., 1:, :-1] - here])


def gaussian_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats per latent cell: summed over channels (axis 1), averaged over the
    rest."""
    nats = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return nats.sum(dim=1).mean()


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of signals in [-1, 1]."""
    return 10 * math.log10(4 / max(mean_squared_error, 1e-12))


# ---------------------------------------------------------------------------------------------------------- closed form
@torch.no_grad()
def fit_patches(codec: VideoCodec, pool: Pool, generator: torch.Generator, batches: int = 150) -> None:
    """Sets the linear part from the patches of random windows; see ``principal_components``."""
    count, total, products = 0, torch.zeros(PATCH_VALUES), torch.zeros(PATCH_VALUES, PATCH_VALUES)
    for _ in range(batches):
        groups = fold_time(pool.batch(WINDOW, generator))
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


@torch.no_grad()
def measure_latent_scale(codec: VideoCodec, pool: Pool, generator: torch.Generator, batches: int = 30) -> None:
    """Sets ``codec.scale`` so that encoded latents have a mean square of one over all channels that are in use.

    One number for all channels: a channel that carries little keeps carrying little, so that the generator's squared
    error weighs channels by what they mean to the picture.
    """
    means = [codec.posterior(pool.batch(WINDOW, generator))[0].transpose(0, 1).flatten(1) for _ in range(batches)]
    square = torch.cat(means, dim=1).square().mean(dim=1)
    codec.scale.copy_(square[square > 0.02].mean().rsqrt())
