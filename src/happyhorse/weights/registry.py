"""The models that can be asked for by name, and what each needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from happyhorse.errors import WeightsError
from happyhorse.weights.store import MANIFEST, Manifest, read_manifest


@dataclasses.dataclass(frozen=True)
class Entry:
    """One known model."""

    name: str
    summary: str
    """What it makes."""
    needs: str = ""
    """Why it cannot be loaded here yet; empty if it can."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is there: weights that make clips, in a folder with their codecs."""

    folder: Path
    generator: str
    """Role of the weights, as in the folder's manifest."""

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)


FOAL = (
    Entry("foal", "the small model inside this package: five kinds of scenes, 128 px, on any CPU"),
    Entry("foal-base", "the same as it was trained: 32 steps with guidance"),
)

MAGIHUMAN = tuple(
    Entry(f"magihuman-{part}", "the 15.3 B geometry: free text", "a GPU and a download; not in this release yet")
    for part in ("base", "distilled", "sr-540p", "sr-1080p")
)

ENTRIES = (*FOAL, *MAGIHUMAN)


def resolve(name: str | Path) -> Model:
    """A model by its name, by a path to its folder, or by a path to one of the folder's weight files.

    Raises WeightsError, listing the known models, if there is none or if it cannot be used here.
    """
    entry = next((entry for entry in ENTRIES if entry.name == str(name)), None)
    if entry is None:
        return _local(Path(name))
    if entry.needs:
        raise WeightsError(f"{entry.name} needs {entry.needs}; models that work here: {', '.join(available())}")
    return _named(_shipped("foal"), entry.name)


def _named(folder: Path, name: str) -> Model:
    """The generator that is called ``name``; the one that is meant by the model's name has its full name as well."""
    manifest = read_manifest(folder)
    roles = {f"{manifest.name}-{role}": role for role in manifest.generators}
    roles[manifest.name] = next(iter(manifest.generators))
    if name not in roles:
        raise WeightsError(f"{folder} holds no {name}, only {', '.join(roles)}; reinstall happyhorse")
    return Model(folder, roles[name])


def asr_folder() -> Path:
    """The folder of the recogniser foal-asr. Raises WeightsError if it is missing from the package."""
    return _shipped("foal-asr")


def _shipped(name: str) -> Path:
    folder = Path(__file__).parent / name
    if not (folder / MANIFEST).is_file():
        raise WeightsError(f"the weights of {name} are missing from {folder}; reinstall happyhorse")
    return folder


def _local(path: Path) -> Model:
    if (path / MANIFEST).is_file():
        return Model(path, next(iter(read_manifest(path).generators)))
    if path.is_dir():
        raise WeightsError(f"{path} is not a model folder: it holds no {MANIFEST}")
    if path.is_file() and (path.parent / MANIFEST).is_file():
        return _by_file(path)
    known = ", ".join(entry.name for entry in ENTRIES)
    raise WeightsError(f"unknown model {str(path)!r}; known are {known}, or give a model folder")


def _by_file(path: Path) -> Model:
    manifest = read_manifest(path.parent)
    roles = [role for role in manifest.generators if role in manifest.files]
    files = {manifest.files[role]["file"]: role for role in roles}
    if path.name not in files:
        raise WeightsError(f"{path} makes no clips by itself; those of its folder that do: {', '.join(files)}")
    return Model(path.parent, files[path.name])


def available() -> list[str]:
    """Names of the models that can be loaded here."""
    return [entry.name for entry in ENTRIES if not entry.needs]
