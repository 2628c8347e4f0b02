"""The models that can be asked for by name, and what each needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from happyhorse.errors import WeightsError
from happyhorse.weights.store import MANIFEST


@dataclasses.dataclass(frozen=True)
class Entry:
    """One known model."""

    name: str
    summary: str
    """What it makes."""
    needs: str = ""
    """Why it cannot be loaded here yet; empty if it can."""


FOAL = Entry("foal", "the small model inside this package: five kinds of scenes, 128 px, on any CPU")

MAGIHUMAN = tuple(
    Entry(f"magihuman-{part}", "the 15.3 B geometry: free text", "a GPU and a download; not in this release yet")
    for part in ("base", "distilled", "sr-540p", "sr-1080p")
)

ENTRIES = (FOAL, *MAGIHUMAN)


def resolve(name: str | Path) -> Path:
    """The folder of a model, from its name or from a path to a folder.

    Raises WeightsError, listing the known models, if there is none or if it cannot be used here.
    """
    entry = next((entry for entry in ENTRIES if entry.name == str(name)), None)
    if entry is None:
        return _local(Path(name))
    if entry.needs:
        raise WeightsError(f"{entry.name} needs {entry.needs}; models that work here: {', '.join(available())}")
    return _shipped(entry.name)


def asr_folder() -> Path:
    """The folder of the recogniser foal-asr. Raises WeightsError if it is missing from the package."""
    return _shipped("foal-asr")


def _shipped(name: str) -> Path:
    folder = Path(__file__).parent / name
    if not (folder / MANIFEST).is_file():
        raise WeightsError(f"the weights of {name} are missing from {folder}; reinstall happyhorse")
    return folder


def _local(folder: Path) -> Path:
    if (folder / MANIFEST).is_file():
        return folder
    if folder.is_dir():
        raise WeightsError(f"{folder} is not a model folder: it holds no {MANIFEST}")
    known = ", ".join(entry.name for entry in ENTRIES)
    raise WeightsError(f"unknown model {str(folder)!r}; known are {known}, or give a model folder")


def available() -> list[str]:
    """Names of the models that can be loaded here."""
    return [entry.name for entry in ENTRIES if not entry.needs]
