"""Rendered clips held in memory as bytes: the training material of the codecs.

A pool holds clips of a few sizes; a batch is a random window in time, and a random crop of the larger sizes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from happyhorse.config import Config
from happyhorse.data.scenes.scene import FPS, Canvas
from happyhorse.data.scenes.world import render, sample_plan


@dataclasses.dataclass(frozen=True)
class PoolGroup(Config):
    """Clips of one size."""

    height: int
    """Rendered height in pixels."""
    width: int
    """Rendered width in pixels."""
    clips: int
    """Number of clips."""
    frames: int = 121
    """Frames of each clip, 4k + 1."""
    crop: int = 0
    """Side of the random square crop; 0 keeps the whole picture."""
    batch: int = 4
    """Windows in a batch."""
    weight: float = 1.0
    """Share of the batches, relative to the other groups."""


class Pool:
    """Clips [clips, 3, frames, height, width] as uint8, one tensor for each group."""

    def __init__(
        self, groups: tuple[PoolGroup, ...], seed: int, split: str, on_clip: Callable[[int, int], None]
    ) -> None:
        self.groups = groups
        total, done = sum(group.clips for group in groups), 0
        self.clips: list[Tensor] = []
        for index, group in enumerate(groups):
            clips = []
            for number in range(group.clips):
                clips.append(render_bytes(seed + 100_003 * index + number, group, split))
                done += 1
                on_clip(done, total)
            self.clips.append(torch.stack(clips))

    def batch(self, window: int, generator: torch.Generator) -> Tensor:
        """Frames [batch, 3, window, h, w] in [-1, 1] of one group, drawn with ``generator``."""
        weights = torch.tensor([float(group.weight) for group in self.groups])
        index = int(torch.multinomial(weights, 1, generator=generator))
        group, clips = self.groups[index], self.clips[index]
        windows = [random_window(clips, window, group.crop, generator) for _ in range(group.batch)]
        return to_signed(torch.stack(windows))


def render_bytes(seed: int, group: PoolGroup, split: str) -> Tensor:
    """One scene as uint8 [3, frames, height, width]."""
    plan = sample_plan(seed, group.frames / FPS, split)
    frames, _ = render([plan], Canvas(group.frames, group.height, group.width))
    return to_bytes(frames[0])


def random_window(clips: Tensor, window: int, crop: int, generator: torch.Generator) -> Tensor:
    """uint8 [3, window, h, w] from a random clip, time and place."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (1,), generator=generator))

    clip = clips[below(clips.shape[0])]
    start = below(clip.shape[1] - window + 1)
    clip = clip[:, start : start + window]
    if crop:
        top, left = below(clip.shape[2] - crop + 1), below(clip.shape[3] - crop + 1)
        clip = clip[:, :, top : top + crop, left : left + crop]
    return clip


def to_bytes(frames: Tensor) -> Tensor:
    """[0, 1] to uint8."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8)


def to_signed(frames: Tensor) -> Tensor:
    """uint8 to [-1, 1]."""
    return frames.float() / 127.5 - 1
