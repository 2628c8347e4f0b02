"""What the published models of this design (daVinci-MagiHuman) do, stage by stage, from noise to latents.

    base       32 steps of UniPC with guidance: two passes each
    distill    8 steps, each to clean latents that are noised afresh (DMD2): one pass each
    superres   5 steps of UniPC on the picture, from the enlarged and noised picture of one of the two above,
               beside a sound that is part noise and is thrown away

All functions work on batches. Noise is an argument, drawn on the CPU by ``draw_noise``, so that a seed means the same
on every device. Shapes: see ``happyhorse.types``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch
from torch import Tensor

from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.flow.guidance import GuidanceScale, Velocity, guided_steps, magihuman_schedule
from happyhorse.flow.timesteps import magihuman_grid
from happyhorse.sampling import conditions, samplers
from happyhorse.sampling.samplers import OnStep
from happyhorse.sampling.superres import enlarge_latents, starting_point
from happyhorse.types import SPACE_STRIDE, ClipShape, Known, Latents, Text

FPS = 25
VIDEO_CHANNELS, AUDIO_CHANNELS = 48, 64
CELL = 2 * SPACE_STRIDE
"""Pixels that width and height are multiples of."""


@dataclasses.dataclass(frozen=True)
class PublishedShape(ClipShape):
    """A clip of 25 frames a second, which has one audio latent more than frames."""

    fps: int = FPS

    @property
    def audio_latents(self) -> int:
        return self.frames + 1


@dataclasses.dataclass(frozen=True)
class Denoising(Config):
    """How a published generator is sampled."""

    steps: int = 8
    """Denoising steps."""
    guided: bool = False
    """Guidance (5 for both, 2 for the picture below level 0.5) and UniPC, or neither: the distilled way."""


DISTILL, BASE = Denoising(), Denoising(steps=32, guided=True)


@dataclasses.dataclass(frozen=True)
class Rendering(Config):
    """How a published super-resolution model is sampled."""

    steps: int = 5
    """Denoising steps."""
    guidance: float = 1.0
    """Scale of the picture's guidance; 1, as shipped, means none."""
    first_frames: int = 13
    """Latent frames at the beginning whose guidance is at most 2: with more they are over-exposed."""
    sound_kept: float = 0.3
    """Amplitude of the sound beside which the picture is rendered; the rest is noise."""

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 <= self.guidance <= 30 or not 0 <= self.sound_kept <= 1:
            raise ConfigError("steps must be 1 or more, guidance 0 to 30 and sound_kept 0 to 1")


def snapped(width: int, height: int) -> tuple[int, int]:
    """The largest size of whole 32 px cells that is not larger."""
    return max(CELL, width // CELL * CELL), max(CELL, height // CELL * CELL)


def draw_noise(shape: ClipShape, generator: torch.Generator) -> Latents:
    """Unit noise of one clip; the sound is drawn first."""
    audio = torch.randn(1, shape.audio_latents, AUDIO_CHANNELS, generator=generator)
    return Latents(torch.randn(1, VIDEO_CHANNELS, *shape.latent_size, generator=generator), audio)


# ------------------------------------------------------------------------------------------------------------- stages
def generate(
    model: Any,
    text: Text,
    negative: Text | None,
    noise: Latents,
    settings: Denoising,
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Latents:
    """Clean latents from noise; ``negative`` is the text that guidance leads away from, ``generator`` draws the fresh
    noise of a distilled model. Whatever is ``known`` stays, sound included."""
    sigmas = magihuman_grid(settings.steps)
    field = velocity(model, text, noise)
    if not settings.guided:
        return samplers.dmd(field, noise, sigmas, known=known, generator=generator, on_step=on_step)
    assert negative is not None, "guidance needs a negative text"
    steps = guided_steps(field, velocity(model, negative, noise), sigmas, magihuman_schedule)
    return samplers.unipc(steps, noise, sigmas, known=known, on_step=on_step)


def render(
    model: Any,
    text: Text,
    negative: Text | None,
    preview: Latents,
    noise: Latents,
    settings: Rendering,
    *,
    image: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The picture [B, 48, T, H, W] of ``preview`` in the size of ``noise``; ``image`` [B, 48, 1, H, W] is its first
    frame, encoded in that size. The sound of ``noise`` is the one that the preview's is mixed with."""
    start = render_start(preview, noise, settings)
    known = conditions.with_audio(conditions.nothing(start), start.audio)
    known = known if image is None else conditions.with_video(known, image)
    sigmas = magihuman_grid(settings.steps)
    scale = GuidanceScale(settings.guidance, 1.0, settings.first_frames if settings.guidance != 1 else 0)
    field = velocity(model, text, noise)
    away = field if negative is None else velocity(model, negative, noise)
    steps = guided_steps(field, away, sigmas, lambda t: scale)
    return samplers.unipc(steps, start, sigmas, known=known, on_step=on_step).video


def render_start(preview: Latents, noise: Latents, settings: Rendering) -> Latents:
    """The enlarged picture and the sound, both noised."""
    height, width = noise.video.shape[3:]
    video = starting_point(enlarge_latents(preview.video, (height, width)), noise.video, picture_kept())
    audio = settings.sound_kept * preview.audio + (1 - settings.sound_kept) * noise.audio
    return Latents(video, audio)


def velocity(model: Any, text: Text, like: Latents) -> Velocity:
    """The model's field for one text; rows are arranged once for all steps."""
    layout = model.layout(like, text)
    return lambda latents: model(latents, text, layout)


# ------------------------------------------------------------------------------------------- how much a render keeps
NOISE_LEVEL = 220
"""Place in the table of 1000 levels at which a render begins."""


@functools.cache
def picture_kept() -> float:
    """Amplitude of the enlarged picture in a render's starting point, 0.8389."""
    return zero_snr_amplitudes()[NOISE_LEVEL].item()


def zero_snr_amplitudes(levels: int = 1000, low: float = 0.00085, high: float = 0.012) -> Tensor:
    """sqrt(alpha bar) [levels] of the "scaled linear" schedule, stretched so that the last one is 0 and the first one
    stays as it is (Lin et al. 2023, arXiv 2305.08891, algorithm 1)."""
    betas = torch.linspace(math.sqrt(low), math.sqrt(high), levels, dtype=torch.float64) ** 2
    amplitudes = (1 - betas).cumprod(0).sqrt()
    first, last = amplitudes[0].clone(), amplitudes[-1].clone()
    return (amplitudes - last) * first / (first - last)
