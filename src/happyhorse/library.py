"""The library: what made clips can be rendered from later, kept beside a thumbnail and where the clip went.

A folder with one sub-folder for each clip, named by its recipe's hash: entry.json (recipe, path, time), latents.
safetensors and thumbnail.png. A sub-folder appears whole or not at all. It is looked for in this order: the folder
that is asked for, HAPPYHORSE_LIBRARY, the user's data folder (~/.local/share/happyhorse).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from happyhorse.clip import Clip
from happyhorse.codecs.images import write_png
from happyhorse.errors import MediaError
from happyhorse.files import make_folder, output_error
from happyhorse.types import Latents

ENTRY, LATENTS, THUMBNAIL = "entry.json", "latents.safetensors", "thumbnail.png"


def clip_id(recipe: Mapping[str, Any]) -> str:
    """12 hex digits that name a clip: the same recipe makes the same clip, so it is found again by the file alone."""
    own = {key: value for key, value in recipe.items() if key != "render"}
    return hashlib.sha256(json.dumps(own, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:12]


def library_folder(asked: Path | None = None) -> Path:
    """Where clips are kept."""
    if asked is not None:
        return asked
    if os.environ.get("HAPPYHORSE_LIBRARY"):
        return Path(os.environ["HAPPYHORSE_LIBRARY"])
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "happyhorse"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A clip that is kept."""

    folder: Path
    recipe: dict[str, Any]
    path: Path
    """Where the clip was written; it may have been moved since."""
    made: float
    """When, in seconds since 1970."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def thumbnail(self) -> Path:
        return self.folder / THUMBNAIL

    def latents(self) -> Latents:
        """What the clip was decoded from, float32. Raises MediaError if the file is damaged."""
        path = self.folder / LATENTS
        try:
            with safe_open(str(path), framework="pt") as file:
                return Latents(file.get_tensor("video").float(), file.get_tensor("audio").float())
        except (OSError, SafetensorError) as error:
            raise MediaError(f"{path} is damaged; remove {self.folder}, and the clip's own picture is used") from error


class Library:
    """The clips that are kept in a folder, which need not exist yet."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = library_folder(folder)

    def keep(self, clip: Clip, path: Path) -> Entry | None:
        """Keeps a clip that was written to ``path``; None if it has no latents (one that was extended).

        Raises OutputError if the folder cannot be written.
        """
        if clip.latents is None:
            return None
        target = self.folder / clip_id(clip.recipe)
        temporary = self.folder / f".{target.name}.{os.getpid()}.tmp"
        entry = Entry(target, dict(clip.recipe), path.absolute(), time.time())
        make_folder(temporary)
        try:
            _write(temporary, clip, entry)
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
        except OSError as error:
            raise output_error(target, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return entry

    def find(self, recipe: Mapping[str, Any]) -> Entry | None:
        """The entry of the clip that a recipe makes, if it is kept here."""
        return _read(self.folder / clip_id(recipe))

    def entries(self) -> list[Entry]:
        """All clips that are kept, the newest first; folders that hold something else are passed over."""
        found = (_read(path) for path in self.folder.glob("*") if not path.name.startswith("."))
        return sorted((entry for entry in found if entry), key=lambda entry: -entry.made)


def _write(folder: Path, clip: Clip, entry: Entry) -> None:
    assert clip.latents is not None
    video, audio = clip.latents.video, clip.latents.audio
    tensors = {"video": video.cpu().to(torch.float16).contiguous(), "audio": audio.cpu().to(torch.float16).contiguous()}
    (folder / LATENTS).write_bytes(save(tensors))
    write_png(folder / THUMBNAIL, clip.frames[len(clip.frames) // 2])
    facts = {"recipe": entry.recipe, "path": str(entry.path), "made": entry.made}
    (folder / ENTRY).write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _read(folder: Path) -> Entry | None:
    try:
        facts = json.loads((folder / ENTRY).read_text(encoding="utf-8"))
        return Entry(folder, dict(facts["recipe"]), Path(facts["path"]), float(facts["made"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
