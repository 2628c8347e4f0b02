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
    sampler: str,
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
) -> Latents:
    """The clean latents that step ``exit_step`` (counted from 0) predicts; gradients flow through that step alone.

    It is the sampler of that name on levels that fall to 0 in the exit step, so the student meets its own inputs
    (backward simulation, arXiv 2405.14867, section 4.5). With the last step it is how a clip is made, bit for bit.
    """
    assert 0 <= exit_step < len(sigmas) - 1, f"there is no step {exit_step} on {len(sigmas)} levels"
    fields = [*[torch.no_grad()(velocity)] * exit_step, velocity]
    levels = [*sigmas[: exit_step + 1], 0.0]
    return samplers.BY_NAME[sampler](fields, noise, levels, known=known, generator=generator)
