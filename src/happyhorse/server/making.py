"""What an order needs and what comes of it: given files brought to the worker, made files with their facts."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from happyhorse.clip import Clip
from happyhorse.codecs.images import fit_image, jpeg
from happyhorse.errors import MediaError
from happyhorse.sampling.extend import Start
from happyhorse.sampling.pipeline import Progress
from happyhorse.server.blobs import Blobs
from happyhorse.server.orders import Medium, Order, RenderOrder
from happyhorse.types import Latents

THUMBNAIL_SIDE_MAX = 512
SHEET_SIDE = 4
"""Frames to a side of the contact sheet."""
SHEET_FRAME_MAX = 256


@dataclasses.dataclass(frozen=True)
class Made:
    """What comes of an order, as files in the folder that it was made in."""

    video: Path
    thumbnail: bytes
    """JPEG."""
    sheet: bytes
    """JPEG of 16 frames, in rows."""
    latents: bytes | None
    """Safetensors of what the clip was decoded from, for its render."""
    facts: dict[str, Any]
    """seconds, size, fps, sample_rate, recipe, timings, notes."""


class Maker(Protocol):
    """A loaded model."""

    def make(self, order: Order | RenderOrder, media: Media, progress: Progress) -> Made: ...

    def make_together(self, orders: Sequence[Order | RenderOrder], media: Media, progress: Progress) -> list[Made]: ...


@dataclasses.dataclass(frozen=True)
class Media:
    """The given files of a job, brought into a folder that is removed after it."""

    blobs: Blobs
    folder: Path

    def path(self, blob: str) -> Path:
        """A local path of a blob. Raises MediaError if it is gone."""
        there = self.blobs.local_path(blob)
        if there is not None:
            return there
        copy = self.folder / blob
        if not copy.exists():
            with self.blobs.open(blob) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target)
        return copy

    def load(self, name: str, medium: Medium, load: Callable[[Any], Any]) -> Any:
        """A medium; its source names what was given instead of a path. Raises MediaError in the same words."""
        path = self.path(medium.blob)
        try:
            loaded = load(path)
        except MediaError as error:
            raise MediaError(str(error).replace(str(path), f"the given {name.replace('_', ' ')}")) from error
        return _without_path(loaded)


def _without_path(loaded: Any) -> Any:
    if isinstance(loaded, Start):
        return Start(_without_path(loaded.film), _without_path(loaded.sound))
    return dataclasses.replace(loaded, source={**loaded.source, "path": None})


# ---------------------------------------------------------------------------------------------------- what is handed in
def made(clip: Clip, video: Path, notes: list[str], timings: Mapping[str, float]) -> Made:
    """A clip that was written to ``video``, with its pictures and facts."""
    height, width = clip.frames.shape[1:3]
    facts = {
        "seconds": clip.seconds,
        "size": f"{width}x{height}",
        "fps": clip.fps,
        "sample_rate": clip.sample_rate,
        "recipe": dict(clip.recipe),
        "timings": dict(timings),
        "notes": notes,
    }
    return Made(video, thumbnail(clip.frames), sheet(clip.frames), _saved(clip.latents), facts)


def _saved(latents: Latents | None) -> bytes | None:
    if latents is None:
        return None
    streams = {"video": latents.video, "audio": latents.audio}
    return save({name: stream.cpu().to(torch.float16).contiguous() for name, stream in streams.items()})


def thumbnail(frames: NDArray[np.uint8]) -> bytes:
    """A JPEG of the middle frame."""
    return jpeg(_within(frames[len(frames) // 2], THUMBNAIL_SIDE_MAX))


def sheet(frames: NDArray[np.uint8]) -> bytes:
    """A JPEG of 4 x 4 frames at equal distances, in reading order."""
    count = SHEET_SIDE**2
    shown = [_within(frames[(2 * index + 1) * len(frames) // (2 * count)], SHEET_FRAME_MAX) for index in range(count)]
    rows = [np.concatenate(shown[start : start + SHEET_SIDE], axis=1) for start in range(0, count, SHEET_SIDE)]
    return jpeg(np.concatenate(rows))


def _within(frame: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A frame scaled down until no side is longer."""
    height, width = frame.shape[:2]
    factor = side / max(height, width)
    return frame if factor >= 1 else fit_image(frame, max(2, round(height * factor)), max(2, round(width * factor)))
