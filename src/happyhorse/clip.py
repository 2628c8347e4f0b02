"""A generated clip: frames, their sound, and the recipe that repeats it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from happyhorse.errors import MediaError

if TYPE_CHECKING:
    from happyhorse.types import Latents


@dataclasses.dataclass(frozen=True)
class Clip:
    """Video and sound of the same length."""

    frames: NDArray[np.uint8]
    """[F, height, width, 3]"""
    audio: NDArray[np.float32]
    """[channels, samples] in [-1, 1]"""
    fps: int
    sample_rate: int
    recipe: Mapping[str, Any]
    """Everything that is needed to make the same clip again; kept as JSON in the comment tag of saved files."""
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Seconds spent in each stage of the making; not part of the recipe."""
    latents: Latents | None = None
    """What picture and sound were decoded from, batch 1; not part of the file."""

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def save(self, path: Path | str, overwrite: bool = False, sound_of: Path | str | None = None) -> Path:
        """Writes the clip as mp4 (H.264 + AAC), whole or not at all. Raises OutputError if it cannot be written.

        ``sound_of`` is an mp4 whose sound track is copied as it is, instead of encoding ``audio``.
        """
        from happyhorse.codecs.media import write_mp4

        comment = json.dumps(dict(self.recipe), ensure_ascii=False)
        write_mp4(path, self.frames, self.audio, self.fps, self.sample_rate, comment, overwrite, sound_of)
        return Path(path)


def read_recipe(path: Path | str) -> dict[str, Any]:
    """The recipe kept in a saved clip. Raises MediaError if the file is unreadable or holds none."""
    from happyhorse.codecs.media import probe

    try:
        recipe = json.loads(probe(path).comment)
    except json.JSONDecodeError:
        recipe = None
    if not isinstance(recipe, dict) or "happyhorse" not in recipe:
        raise MediaError(f"{path} holds no recipe; only clips written by happyhorse do")
    return recipe
