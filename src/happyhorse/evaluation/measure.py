"""The quality table of a model: the same readings of real scenes, of real scenes through the codecs, and of the model.

Real scenes are what the instruments can tell at best, scenes through the codecs what any model behind them can reach.
Strangers, the picture of one real scene with the sound of another of its family, are what chance reaches.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.clip import Clip
from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.scene import FPS, Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, prompt, render, sample_plan
from happyhorse.evaluation.readings import Instruments, Sample, read_clip, read_codecs, read_image_start, read_together
from happyhorse.evaluation.tally import Line, Tally
from happyhorse.types import ClipShape

Generate = Callable[[str, int, NDArray[np.uint8] | None], Clip]
"""(prompt, seed, first frame or None) to a clip."""

FIRST_SEED = 900_000_000
"""Seeds of the cases begin here, far from those of training and of the instruments."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to ask for."""

    plan: Plan
    prompt: str
    with_image: bool
    """Whether it is also asked for with its first frame given."""


def make_cases(
    per_family: int,
    seconds: float,
    images: int = 8,
    phrasing: str = "held_out",
    families: Sequence[str] = tuple(FAMILIES),
) -> list[Case]:
    """``per_family`` cases of each family, every other one of a held-out combination, ``images`` of them with an image.

    ``phrasing`` "train" words the prompts as training does, "held_out" as it never does.
    """
    return [
        _case(family, index, seconds, index < images, phrasing) for index in range(per_family) for family in families
    ]


def _case(family: str, index: int, seconds: float, with_image: bool, phrasing: str) -> Case:
    seed = FIRST_SEED + index
    plan = sample_plan(seed, seconds, ("train", "held_out")[index % 2], family)
    return Case(plan, prompt(plan, random.Random(f"{family}-{seed}"), phrasing), with_image)


@torch.inference_mode()
def round_trip(
    codecs: Codecs, frames: torch.Tensor, waveform: torch.Tensor, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames [B, 3, F, h, w] in [0, 1] and waveform [B, S] to latents and back, on ``device``; F = 4k + 1."""
    rebuilt = codecs.video.decode(codecs.video.encode(frames.to(device) * 2 - 1)) / 2 + 0.5
    return rebuilt.cpu(), codecs.audio.decode(codecs.audio.encode(waveform.to(device))).float().cpu()


def measure(
    cases: Sequence[Case],
    size: tuple[int, int],
    instruments: Instruments,
    codecs: Codecs | None = None,
    generate: Generate | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Tally]:
    """Measures every case at ``size`` (height, width) and yields the growing tally after each.

    One clip of each row is in memory at a time. Without ``codecs``, which are on ``device``, or ``generate`` their rows
    are left out.
    """
    tally, before = Tally(), dict[str, NDArray[np.floating]]()
    for case in cases:
        shape = ClipShape(case.plan.seconds, *size)
        frames, waveform = render([case.plan], Canvas(shape.padded_frames, *size))
        real = sample_of(frames, waveform, shape)
        tally.add("real", read_clip(real, case.plan, instruments))
        if case.plan.family in before:
            mixed = Sample(real.frames, before[case.plan.family])
            tally.add("strangers", read_together(mixed, case.plan, instruments))
        before[case.plan.family] = real.waveform
        if codecs:
            through = sample_of(*round_trip(codecs, frames, waveform, device), shape)
            tally.add("codecs", read_clip(through, case.plan, instruments))
            tally.add("codecs", read_codecs(real, through, case.plan, instruments))
        if case.with_image:
            tally.add("real", read_image_start(real.frames[0], real, case.plan))
        if generate:
            _measure_model(tally, case, real, instruments, generate)
        yield tally


def _measure_model(tally: Tally, case: Case, real: Sample, instruments: Instruments, generate: Generate) -> None:
    made = clip_sample(generate(case.prompt, case.plan.seed, None))
    tally.add("model", read_clip(made, case.plan, instruments))
    if case.with_image:
        image = real.frames[0]
        tally.add(
            "model", read_image_start(image, clip_sample(generate(case.prompt, case.plan.seed, image)), case.plan)
        )


def sample_of(frames: torch.Tensor, waveform: torch.Tensor, shape: ClipShape) -> Sample:
    """Frames [1, 3, F, h, w] in [0, 1] and waveform [1, S], trimmed to the clip's length."""
    pixels = (frames[0, :, : shape.frames].clamp(0, 1) * 255).round().to(torch.uint8)
    samples = waveform[0, : shape.frames * waveform.shape[1] // frames.shape[2]]
    return Sample(pixels.permute(1, 2, 3, 0).contiguous().numpy(), samples.numpy())


def clip_sample(clip: Clip) -> Sample:
    """A clip as it is measured: all channels of its sound mixed to one."""
    assert clip.fps == FPS, f"clips are measured at {FPS} frames a second, not {clip.fps}"
    return Sample(clip.frames, clip.audio.mean(axis=0))


def as_json(lines: Sequence[Line]) -> list[dict]:
    return [line.to_dict() for line in lines]
