"""How noise levels and noise are drawn (t = 1 is noise)."""

from __future__ import annotations

import torch

from happyhorse.flow import timesteps
from happyhorse.recipes.recipe import NoiseLaw
from happyhorse.types import Latents


def draw_times(count: int, law: NoiseLaw, generator: torch.Generator) -> Latents:
    """A noise level for each modality of each sample, [count] and [count]: mostly the same one for both."""
    video = timesteps.draw_times(count, law.shift, law.uniform, generator)
    other = timesteps.draw_times(count, law.shift, law.uniform, generator)
    apart = torch.rand(count, generator=generator) < law.independent
    return Latents(video, torch.where(apart, other, video))


def draw_noise(like: Latents, generator: torch.Generator) -> Latents:
    """Gaussian noise of the latents' shapes, on the generator's device."""
    return like.map(lambda stream: torch.randn(stream.shape, generator=generator, device=generator.device))
