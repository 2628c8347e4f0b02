"""The student's way from noise to a clip, as far as training follows it: the very sampler that will be used."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from happyhorse.flow.guidance import Velocity
from happyhorse.sampling import samplers
from happyhorse.types import Known, Latents


def rollout(
    velocity: Velocity,
    noise: Latents,
    sigmas: Sequence[float],
    exit_step: int,
    shares: Sequence[float],
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
) -> Latents:
    """The clean latents that step ``exit_step`` (counted from 0) predicts; gradients flow through that step alone.

    The steps before it are taken as when a clip is generated, so that the student meets its own inputs (backward
    simulation, arXiv 2405.14867, section 4.5). ``shares`` says how much of the noise is fresh in each. With the last
    step it is ``samplers.renoise``, bit for bit.
    """
    assert 0 <= exit_step < len(sigmas) - 1, f"there is no step {exit_step} on {len(sigmas)} levels"
    with torch.no_grad():
        before = shares[:exit_step]
        latents = samplers.renoise(velocity, noise, sigmas[: exit_step + 1], before, known=known, generator=generator)
    last = (sigmas[exit_step], 0.0), shares[exit_step : exit_step + 1]
    return samplers.renoise(velocity, latents, *last, known=known, generator=generator)
