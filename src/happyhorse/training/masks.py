"""Which latents of a training sample are given clean: the conditions that one model learns by random masks."""

from __future__ import annotations

import torch
from torch import Tensor

from happyhorse.recipes.recipe import KnownShares
from happyhorse.types import TIME_STRIDE, Known, Latents


def draw_known(clean: Latents, shares: KnownShares, generator: torch.Generator) -> Known:
    """Random masks (on the CPU) for a batch; the known values are the clean latents."""
    count, frames, sounds = clean.video.shape[0], clean.video.shape[2], clean.audio.shape[1]
    kind = torch.rand(count, 1, generator=generator)
    both_ends = torch.rand(count, 1, generator=generator) < 0.5
    prefix = torch.randint(1, max(2, frames // 2 + 1), (count, 1), generator=generator)

    first, last, audio, video, beginning = _choices(kind, shares)
    frame, sound = torch.arange(frames), torch.arange(sounds)
    video_mask = (frame == 0) & (first | (last & both_ends)) | (frame == frames - 1) & last | video
    video_mask = video_mask | beginning & (frame < prefix)
    audio_mask = audio.expand(count, sounds) | beginning & (sound <= TIME_STRIDE * (prefix - 1))
    return Known(clean, video_mask.contiguous(), audio_mask.contiguous())


def sound_after(known: Known, noise: Latents) -> Known:
    """The same masks where the whole picture is given; elsewhere the sound is ``noise`` to the model, and not asked
    for: a picture is learned without its sound, and sounds for finished pictures."""
    finished = known.video_mask.all(dim=1)
    audio = torch.where(finished[:, None, None], known.latents.audio, noise.audio)
    hidden = torch.where(finished[:, None], known.audio_mask, torch.ones_like(known.audio_mask))
    return Known(Latents(known.latents.video, audio), known.video_mask, hidden)


def _choices(kind: Tensor, shares: KnownShares) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Disjoint intervals of the uniform ``kind`` [B, 1], one for each share, as masks [B, 1]."""
    chosen, start = [], 0.0
    for share in (shares.first_frame, shares.last_frame, shares.audio, shares.video, shares.prefix):
        chosen.append((kind >= start) & (kind < start + share))
        start += share
    first, last, audio, video, beginning = chosen
    return first, last, audio, video, beginning
