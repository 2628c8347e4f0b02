"""Distribution matching for a joint, timestep-free field: pure functions.

Yin et al. 2024 (DMD, arXiv 2311.18828, equations 7 and 8; DMD2, arXiv 2405.14867) move a student's clean output x along
the difference of two scores, of the teacher and of the student's own distribution, at a renoised point
x_t = (1 - t) x + t e:

    g = (x0_fake - x0_real) / mean|x - x0_real|

With x0 = x_t - t v, numerator and denominator both carry a factor t, which cancels:

    g = (v_real - v_fake) / mean|v_real - (e - x)|

so that a model without a timestep is never asked for one. Shapes: any [B, ...]; all results are float32.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from happyhorse.flow import path, timesteps
from happyhorse.types import Known, Latents


@dataclasses.dataclass(frozen=True)
class Renoised:
    """A student's output, noised again: where the two scores are compared."""

    noisy: Latents
    """x_t, with the known parts clean."""
    target: Latents
    """e - x: what the fake score learns, and what the size of the gradient is measured by."""
    unknown: Latents
    """1 where the student decides, 0 where the latent was given; broadcastable to the latents."""


def renoise(data: Latents, noise: Latents, times: Tensor, known: Known | None = None) -> Renoised:
    """Both streams of ``data`` at one level for each sample: ``times`` [B]."""
    mixed = data.zip(noise, lambda x, e: path.noisy(x, e, times))
    if known is None:
        unknown = data.map(lambda x: torch.ones(len(x), *[1] * (x.ndim - 1), device=x.device))
    else:
        mixed, unknown = known.paste(mixed), known.masks().map(lambda mask: (~mask).float())
    return Renoised(mixed, data.zip(noise, path.velocity), unknown)


def draw_times(count: int, shift: float, lowest: float, highest: float, generator: torch.Generator) -> Tensor:
    """Levels [count] to compare the scores at: uniform, shifted toward noise, kept away from both ends."""
    return timesteps.shift(torch.rand(count, generator=generator), shift).clamp(lowest, highest)


def gradient(real: Tensor, fake: Tensor, target: Tensor, unknown: Tensor, floor: float) -> Tensor:
    """The direction in which the student's output should fall, [B, ...], zero where the latent was given.

    ``real`` and ``fake`` are velocities at x_t, ``target`` is e - x. The size is measured for each sample by itself and
    never below ``floor``: a silent clip, which the teacher predicts exactly, would make it explode.
    """
    size = masked_mean((real.float() - target).abs(), unknown).clamp_min(floor)
    found = (real.float() - fake.float()) * unknown / size.view(-1, *[1] * (real.ndim - 1))
    return torch.nan_to_num(found)


def matching_loss(data: Tensor, direction: Tensor) -> Tensor:
    """A loss [B] whose gradient with respect to ``data`` is ``direction`` over the elements of a sample.

    Its value says nothing (half the mean square of the direction): log the direction's size instead.
    """
    goal = (data - direction).detach()
    return 0.5 * (data - goal).square().flatten(1).mean(1)


def fake_loss(velocity: Tensor, target: Tensor, unknown: Tensor) -> Tensor:
    """Flow matching on the student's own outputs, [B]."""
    return masked_mean((velocity.float() - target).square(), unknown)


def masked_mean(values: Tensor, unknown: Tensor) -> Tensor:
    """Mean [B] over the elements of each sample that were not given; 0 where all were."""
    counted = unknown.flatten(1).sum(1) * (values[0].numel() / unknown[0].numel())
    return (values * unknown).flatten(1).sum(1) / counted.clamp_min(1)
