"""A clip that goes on: windows that begin with the end of what is there, one after the other.

Each window knows the last two seconds or so of picture and sound clean, as training has shown it beginnings up to half
of a clip, and makes the rest of five seconds. The picture changes hands between two frames; the sound is faded over
before the first new one, so that there is no click where a new waveform takes over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.clip import Clip
from happyhorse.codecs.images import fit_image
from happyhorse.errors import SizeError
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Beginning, Film, Given, Sound, load_film, load_sound
from happyhorse.sampling.pipeline import Pipeline, Progress, Stopwatch
from happyhorse.sampling.request import Request
from happyhorse.types import TIME_STRIDE, ClipShape

SECONDS_MAX = 60.0
"""Longest clip."""
FADE = 0.04
"""Seconds over which the sound changes hands."""
PER_FRAME = SAMPLE_RATE // FPS


@dataclasses.dataclass(frozen=True)
class Start:
    """The clip to go on from."""

    film: Film
    sound: Sound

    @property
    def seconds(self) -> float:
        return self.film.seconds

    @property
    def source(self) -> dict[str, Any]:
        """What the recipe says of it."""
        return self.film.source

    def notes(self, shape: ClipShape) -> Iterator[str]:
        """What is done to the clip to make it fit, a line each."""
        if "fps" in self.film.source:
            yield f"the clip has {self.film.source['fps']:g} frames a second; it goes on at {FPS}"
        height, width = self.film.frames.shape[1:3]
        if (width, height) != (shape.width, shape.height):
            yield f"the clip is {width}x{height}; it is cropped and scaled to {shape.width}x{shape.height}"


def load_start(path: Path | str) -> Start:
    """Picture and sound of a clip. Raises MediaError if it is missing, damaged, or without either."""
    film, sound = load_film(path), load_sound(path)
    assert film is not None and sound is not None
    return Start(film, sound)


def check_length(start: Start, seconds: float) -> None:
    """Raises SizeError unless the clip becomes longer, and not too long."""
    if not start.seconds < seconds <= SECONDS_MAX:
        allowed = f"ask for more than it has and at most {SECONDS_MAX:g} s (--seconds)"
        raise SizeError(f"a clip of {start.seconds:.2f} s cannot be extended to {seconds:g} s; {allowed}")


def extend(
    pipeline: Pipeline, start: Start, request: Request, seconds: float, on_progress: Progress | None = None
) -> Clip:
    """The clip, extended to ``seconds``; ``request`` says what is asked for and how long a window is (its shape).

    Window n is made with the seed ``request.seed + n``. Raises SizeError for a length that cannot be made.
    """
    check_length(start, seconds)
    shape, total = request.shape, round(seconds * FPS)
    frames = np.stack([fit_image(frame, shape.height, shape.width) for frame in start.film.frames])
    samples = len(frames) * PER_FRAME
    audio = np.pad(start.sound.waveform[:samples], (0, max(0, samples - len(start.sound.waveform))))
    watch, number = Stopwatch(on_progress), 0
    while len(frames) < total:
        window = dataclasses.replace(request, seed=request.seed + number)
        new_frames, new_audio = go_on(pipeline, window, frames, audio, watch)
        frames, audio = np.concatenate([frames, new_frames]), joined(audio, *new_audio)
        number += 1
    recipe = {
        **pipeline.made_by(),
        **request.recipe(),
        "seconds": seconds,
        "image": None,
        "extend": start.source,
    }
    return Clip(frames[:total], audio[None, : total * PER_FRAME], FPS, SAMPLE_RATE, recipe, watch.seconds)


def go_on(
    pipeline: Pipeline, request: Request, frames: NDArray[np.uint8], audio: NDArray[np.float32], watch: Stopwatch
) -> tuple[NDArray[np.uint8], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """One window: its new frames, and its sound as (what overlaps the old one, what is new)."""
    kept = overlap(len(frames), request.shape)
    given = Given(beginning=Beginning(frames[-kept:], audio[-kept * PER_FRAME :]))
    with torch.inference_mode():
        latents = pipeline.generate_latents(request, given, watch)
        shown, heard = pipeline.decode(latents, request.shape, watch)
    return shown[kept:], (heard[0, : kept * PER_FRAME], heard[0, kept * PER_FRAME :])


def overlap(frames: int, shape: ClipShape) -> int:
    """Frames that a window begins with: 4 k + 1 of what is there, in at most half of the window's latents."""
    most = max(1, shape.latent_frames // 2) - 1
    return TIME_STRIDE * min(most, (frames - 1) // TIME_STRIDE) + 1


def joined(old: NDArray[np.float32], again: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """The old sound [S], faded into a window's rendering of its end (``again``), which goes on as ``new``."""
    length = min(round(FADE * SAMPLE_RATE), len(again))
    return np.concatenate([old[:-length], faded(old[-length:], again[-length:]), new], dtype=np.float32)


def faded(old: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
    """From one sound [S] to another of the same length, along half a cosine."""
    weight = (0.5 - 0.5 * np.cos(np.pi * (np.arange(len(old)) + 0.5) / len(old))).astype(np.float32)
    return ((1 - weight) * old + weight * new).astype(np.float32)
