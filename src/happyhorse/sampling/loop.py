"""A clip whose end leads into its beginning, in picture and sound.

A clip is made as always; then its last two fifths are made again, in a window that knows what comes before them and, at
its end, what the clip begins with. The sound is faded over at both ends of the new part, as when a clip goes on.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.clip import Clip
from happyhorse.errors import SizeError
from happyhorse.sampling.extend import FADE, PER_FRAME, faded, joined
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Beginning, Ending, Given
from happyhorse.sampling.pipeline import NOTHING, Pipeline, Progress, Stopwatch
from happyhorse.sampling.request import Request
from happyhorse.types import TIME_STRIDE, ClipShape

NEW = 0.4
"""Share of the clip that is made again."""
SHORTEST = 2.0
"""Seconds of the shortest loop."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """How many frames of a loop are what."""

    kept: int
    """Frames from its beginning that stay."""
    before: int
    """Of those, the last ones that the window begins with: 4 k + 1."""
    new: int
    """Frames that are made again."""
    after: int
    """Frames of the beginning that the window ends with."""

    @property
    def total(self) -> int:
        return self.kept + self.new


def parts(shape: ClipShape) -> Parts:
    """The parts of a loop of this length, all in whole latent frames; what is left over of it is cut.

    Raises SizeError for a loop that is too short.
    """
    ring = shape.frames // TIME_STRIDE
    if shape.frames < SHORTEST * FPS:
        raise SizeError(f"a loop of {shape.seconds:g} s is too short; ask for {SHORTEST:g} s or more (--seconds)")
    new = round(NEW * ring)
    after = (shape.latent_frames - new) // 3
    before = shape.latent_frames - new - after
    return Parts(
        kept=TIME_STRIDE * (ring - new),
        before=TIME_STRIDE * (before - 1) + 1,
        new=TIME_STRIDE * new,
        after=TIME_STRIDE * after,
    )


def loop(pipeline: Pipeline, request: Request, given: Given = NOTHING, on_progress: Progress | None = None) -> Clip:
    """A clip that can be played again and again; its end is made with the seed ``request.seed + 1``.

    Raises SizeError for a length that cannot be made.
    """
    plan, watch = parts(request.shape), Stopwatch(on_progress)
    clip = pipeline.make(request, given, on_progress)
    frames, audio = clip.frames[: plan.kept], clip.audio[0, : plan.kept * PER_FRAME]
    shown, heard = close(pipeline, dataclasses.replace(request, seed=request.seed + 1), plan, frames, audio, watch)
    before, new, after = np.split(heard, [plan.before * PER_FRAME, (plan.before + plan.new) * PER_FRAME])
    frames = np.concatenate([frames, shown[plan.before : plan.before + plan.new]])
    audio = joined(audio, before, new)
    fade = round(FADE * SAMPLE_RATE)
    audio[:fade] = faded(after[:fade], audio[:fade])
    recipe = {**clip.recipe, "seconds": plan.total / FPS, "loop": True}
    seconds = {name: round(clip.timings[name] + spent, 3) for name, spent in watch.seconds.items()}
    return Clip(frames, audio[None], FPS, SAMPLE_RATE, recipe, seconds)


def close(
    pipeline: Pipeline,
    request: Request,
    plan: Parts,
    frames: NDArray[np.uint8],
    audio: NDArray[np.float32],
    watch: Stopwatch,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The window that leads from the end of what is kept to its beginning: its frames and its sound [S]."""
    end = slice(plan.kept - plan.before, None)
    given = Given(
        beginning=Beginning(frames[end], audio[end.start * PER_FRAME :]),
        ending=Ending(frames[: plan.after], audio[: plan.after * PER_FRAME]),
    )
    shape = ClipShape((plan.before + plan.new + plan.after) / FPS, request.shape.height, request.shape.width)
    with torch.inference_mode():
        latents = pipeline.generate_latents(dataclasses.replace(request, shape=shape), given, watch)
        shown, heard = pipeline.decode(latents, shape, watch)
    return shown, heard[0]
