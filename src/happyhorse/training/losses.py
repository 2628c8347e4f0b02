"""Flow matching for two streams (Lipman et al. 2022): the noisy sample, its target, and the error of each modality.

No weight on the noise level: the density of the drawn levels is the weight.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from happyhorse.flow import path
from happyhorse.types import Known, Latents


@dataclasses.dataclass(frozen=True)
class Example:
    """What the model sees and what it should say."""

    noisy: Latents
    """x_t, with the known parts clean."""
    target: Latents
    """e - x0."""
    unknown: Latents
    """1 where the loss counts, 0 where the latent was given; broadcastable to the latents."""
    times: Latents
    """Noise level of each modality, [B] and [B]."""


def make_example(clean: Latents, noise: Latents, times: Latents, known: Known) -> Example:
    """The noisy sample and its target; everything on the device of ``clean``."""
    mixed = Latents(
        path.noisy(clean.video, noise.video, times.video),
        path.noisy(clean.audio, noise.audio, times.audio),
    )
    unknown = known.masks().map(lambda mask: (~mask).float())
    return Example(known.paste(mixed), clean.zip(noise, path.velocity), unknown, times)


def flow_matching_loss(velocity: Latents, example: Example) -> Latents:
    """Mean squared error of each sample, [B] for each modality, over the elements that were not given.

    The mean is taken per modality, because a clip has a hundred times as many video numbers as audio numbers. A
    modality that was given as a whole has the loss 0.
    """
    return Latents(
        _masked_error(velocity.video, example.target.video, example.unknown.video),
        _masked_error(velocity.audio, example.target.audio, example.unknown.audio),
    )


def _masked_error(velocity: Tensor, target: Tensor, unknown: Tensor) -> Tensor:
    squares = (velocity.float() - target).square() * unknown
    counted = unknown.flatten(1).sum(1) * (target[0].numel() / unknown[0].numel())
    return squares.flatten(1).sum(1) / counted.clamp_min(1)
