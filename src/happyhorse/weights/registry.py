"""The models that can be asked for by name, and what each needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from happyhorse.errors import WeightsError
from happyhorse.weights.catalogue import MODELS, PublicModel, Role, find
from happyhorse.weights.kept import part_folder, state
from happyhorse.weights.store import MANIFEST, Manifest, read_manifest


@dataclasses.dataclass(frozen=True)
class Entry:
    """One known model."""

    name: str
    summary: str
    """What it makes."""
    needs: str = ""
    """What it takes beyond this package; empty for the models inside it."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A model that is there: weights that make clips, in a folder with their codecs."""

    folder: Path
    generator: str
    """Role of the weights, as in the folder's manifest."""

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)


@dataclasses.dataclass(frozen=True)
class PublicWeights:
    """A public model that is here: the folders of its parts, in their authors' own layouts."""

    model: PublicModel
    folders: Mapping[Role, Path]


FOAL = (
    Entry("foal", "the small model inside this package: five kinds of scenes, 128 px, on any CPU"),
    Entry("foal-base", "the same as it was trained: 32 steps with guidance"),
)

MAGIHUMAN = tuple(
    Entry(model.name, model.summary, f"a GPU and public weights ({model.size}): happyhorse pull {model.name}")
    for model in MODELS
)

ENTRIES = (*FOAL, *MAGIHUMAN)


def is_public(name: str | Path) -> bool:
    """Whether a name means public weights, which ``public`` finds, instead of a folder with a manifest."""
    return any(model.name == str(name) for model in MODELS)


def public(name: str) -> PublicWeights:
    """The folders of a public model. Raises WeightsError, with the command that fetches it, if it is not complete."""
    model = find(name)
    here = state(model)
    if here.kind != "complete":
        raise WeightsError(
            f"{name} is not here{'' if here.kind == 'absent' else f' as a whole ({here})'}; "
            f"get it with: happyhorse pull {name} ({model.size} in all)"
        )
    return PublicWeights(model, {role: part_folder(part) for role, part in model.parts.items()})


def resolve(name: str | Path) -> Model:
    """A model by its name, by a path to its folder, or by a path to one of the folder's weight files.

    Raises WeightsError, listing the known models, if there is none, and for public weights, which are no such folder.
    """
    if is_public(name):
        weights = public(str(name))
        raise WeightsError(f"this does not work with {weights.model.name}, only with models such as {FOAL[0].name}")
    entry = next((entry for entry in ENTRIES if entry.name == str(name)), None)
    return _named(_shipped("foal"), entry.name) if entry else _local(Path(name))


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
