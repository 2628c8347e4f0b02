"""Super-resolution in latent space: from a preview to four times its size, its sound and its composition kept.

The preview is enlarged to the new latent size and noised a little; from there a model of the same design goes to the
render in a few steps. What it has learned is the straight path between the two:

    x_1 = kept * enlarged + sqrt(1 - kept^2) * noise        x_t = (1 - t) render + t x_1        v = x_1 - render

so that it is sampled as any other model, only from x_1 (with ``kept`` = 0 it would be generation from noise). The sound
is given, clean; so is a first frame, if the preview was made from one. Geometry, ``kept`` and the five steps are those
of the published super-resolution models of this design (daVinci-MagiHuman).

Shapes: see ``happyhorse.types``; h, w are the latent sides of the preview and H = scale h, W = scale w of the render.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.codecs.codec import VideoCoder
from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.flow.timesteps import grid
from happyhorse.model.sequence import RowCache
from happyhorse.sampling import samplers
from happyhorse.sampling.samplers import OnStep
from happyhorse.types import TIME_STRIDE, Known, Latents, Text

ENLARGED = ("latents", "picture")
CHUNK = 4
"""Latent frames that are enlarged, encoded or decoded at a time."""


@dataclasses.dataclass(frozen=True)
class Enlarging(Config):
    """How a super-resolution model is used; kept in its manifest."""

    scale: int = 4
    """Factor of both sides."""
    steps: int = 5
    """Denoising steps."""
    shift: float = 5.0
    """Shift of the noise levels."""
    sampler: str = "euler"
    """"euler" or "unipc": steps without fresh noise."""
    kept: float = 0.838910
    """Amplitude of the enlarged preview in the starting point; the rest of unit variance is noise."""
    source: str = "latents"
    """What is enlarged: "latents", by trilinear interpolation, or the "picture", by bicubic interpolation of what the
    latents decode to, which is then encoded again."""

    def __post_init__(self) -> None:
        if self.source not in ENLARGED:
            raise ConfigError(f"source is {self.source!r}; it must be one of {', '.join(ENLARGED)}")
        if self.sampler not in ("euler", "unipc"):
            raise ConfigError(f"sampler is {self.sampler!r}; it must be one of euler, unipc")
        if self.scale < 2 or self.steps < 1 or not 0 <= self.kept <= 1:
            raise ConfigError("scale must be 2 or more, steps 1 or more and kept between 0 and 1")


def enlarge(video: Tensor, settings: Enlarging, codec: VideoCoder) -> Tensor:
    """The preview's latents [B, C, T, h, w] at the size of the render, [B, C, T, H, W]."""
    if settings.source == "latents":
        height, width = video.shape[3:]
        return enlarge_latents(video, (settings.scale * height, settings.scale * width))
    return enlarge_picture(video, settings.scale, codec)


def enlarge_latents(video: Tensor, size: tuple[int, int]) -> Tensor:
    """Trilinear to (height, width) in cells, the corners' cells staying corners."""
    return F.interpolate(video.float(), (video.shape[2], *size), mode="trilinear", align_corners=True)


def enlarge_picture(video: Tensor, scale: int, codec: VideoCoder) -> Tensor:
    """Decoded, enlarged by bicubic interpolation frame by frame, and encoded a few latent frames at a time.

    Needs a codec that encodes every group of four frames by itself, as the foal's does.
    """
    frames = codec.decode(video)
    parts = []
    for start in range(0, video.shape[2], CHUNK):
        stop = min(start + CHUNK, video.shape[2])
        # A window that starts later than the clip has one frame more in front: the encoder wants 4 k + 1.
        first = 0 if start == 0 else TIME_STRIDE * (start - 1)
        large = bicubic(frames[:, :, first : TIME_STRIDE * (stop - 1) + 1], scale)
        latent = codec.encode(large)
        parts.append(latent if start == 0 else latent[:, :, 1:])
    return torch.cat(parts, dim=2)


def bicubic(frames: Tensor, scale: int) -> Tensor:
    """Frames [B, 3, F, height, width] at ``scale`` times the size, clamped to [-1, 1]."""
    flat = frames.transpose(1, 2).flatten(0, 1)
    large = F.interpolate(flat, scale_factor=scale, mode="bicubic", align_corners=False).clamp(-1, 1)
    return large.unflatten(0, (frames.shape[0], -1)).transpose(1, 2)


def starting_point(enlarged: Tensor, noise: Tensor, kept: float) -> Tensor:
    """x_1: the enlarged preview, noised, at the variance that it had if that was one."""
    return kept * enlarged + math.sqrt(1 - kept**2) * noise


def render_latents(
    model: Any,
    text: Text | RowCache,
    start: Latents,
    known: Known,
    settings: Enlarging,
    on_step: OnStep | None = None,
) -> Tensor:
    """The render's latents [B, C, T, H, W] from the starting point; the sound is among what is ``known``."""
    memory = model.encode_text(text) if isinstance(text, Text) and model.config.text == "tokens" else text
    layout = model.layout(start, memory)
    sampler = {"euler": samplers.euler, "unipc": samplers.unipc}[settings.sampler]
    sigmas = grid(settings.steps, settings.shift)
    found = sampler(lambda latents: model(latents, memory, layout), start, sigmas, known=known, on_step=on_step)
    return found.video
