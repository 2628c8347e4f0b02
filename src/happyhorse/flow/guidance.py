"""Classifier-free guidance, one convention: ``v = u + w (c - u)``; w = 1 is the plain conditional velocity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from happyhorse.types import Latents

Velocity = Callable[[Latents], Latents]
"""A velocity field at one noise level."""


@dataclasses.dataclass(frozen=True)
class GuidanceScale:
    """How far to go beyond the conditional velocity, per modality."""

    video: float = 1.0
    """Scale w of the video."""
    audio: float = 1.0
    """Scale w of the sound."""
    first_frames: int = 0
    """Number of leading latent frames whose video scale is capped at ``first_frames_limit``."""
    first_frames_limit: float = 2.0
    """Cap for those frames; super-resolution with guidance over-exposes the first frames without it."""

    @property
    def is_plain(self) -> bool:
        """Whether the unconditional velocity has no influence, so that it need not be computed."""
        return self.video == 1.0 and self.audio == 1.0 and (self.first_frames == 0 or self.first_frames_limit >= 1.0)


Schedule = Callable[[float], GuidanceScale]
"""The scale to use at a noise level t."""


def guide(conditional: Latents, unconditional: Latents, scale: GuidanceScale) -> Latents:
    """Guided velocity of both streams; all Latents have the same shapes."""
    video = _video_scale(scale, conditional.video)
    return Latents(
        _extrapolate(conditional.video, unconditional.video, video),
        _extrapolate(conditional.audio, unconditional.audio, scale.audio),
    )


def _extrapolate(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    return unconditional + scale * (conditional - unconditional)


def _video_scale(scale: GuidanceScale, video: Tensor) -> float | Tensor:
    """A number, or [T, 1, 1] to broadcast over [B, C, T, H, W] when the first frames are capped."""
    if scale.first_frames == 0:
        return scale.video
    frames = torch.full((video.shape[2],), scale.video, device=video.device)
    frames[: scale.first_frames] = min(scale.video, scale.first_frames_limit)
    return frames[:, None, None]


def magihuman_schedule(t: float) -> GuidanceScale:
    """The published base model's scales: video 5 while int(1000 t) > 500, then 2; audio 5 throughout."""
    return GuidanceScale(video=5.0 if int(1000 * t) > 500 else 2.0, audio=5.0)


def guided(conditional: Velocity, unconditional: Velocity, scale: GuidanceScale) -> Velocity:
    """The guided field; asks the unconditional one only if it counts."""
    if scale.is_plain:
        return conditional
    return lambda latents: guide(conditional(latents), unconditional(latents), scale)


def guided_steps(
    conditional: Velocity, unconditional: Velocity, sigmas: Sequence[float], schedule: Schedule
) -> list[Velocity]:
    """One guided field per sampling step, each with the scale of its own noise level."""
    return [guided(conditional, unconditional, schedule(sigma)) for sigma in sigmas[:-1]]
