"""What of the public weights is on this machine: records of what was fetched, its state, verifying and removing it.

Every part has a folder with a record, parts.json: each wanted file with its size, SHA-256 and commit. A file has its
real name only when it is whole and its hash was compared. Until then it is a hidden .NAME.HASH.part. ``hub`` fetches;
nothing here looks at the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from happyhorse.errors import WeightsError
from happyhorse.files import output_error, whole_file
from happyhorse.weights.catalogue import MODELS, Part, PublicModel, models_folder
from happyhorse.weights.store import file_hash

RECORD = "parts.json"
_LOCK = ".lock"

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, file), the first time before anything is fetched or read."""


# ------------------------------------------------------------------------------------------------------- what is here
@dataclasses.dataclass(frozen=True)
class WantedFile:
    """A file of a part, as the hub describes it."""

    file: str
    """Its name in the part's folder."""
    bytes: int
    sha256: str = ""
    """Hex; the hub knows it of large files, that of small ones is added when they were fetched."""
    blob: str = ""
    """Git's own SHA-1 of a small file."""
    commit: str = ""
    damaged: bool = False
    """Set by ``verify``; the next pull fetches the file again."""

    def is_in(self, folder: Path) -> bool:
        """Whether the whole file lies there, by its size."""
        path = folder / self.file
        return not self.damaged and path.is_file() and path.stat().st_size == self.bytes

    def partial(self, folder: Path) -> Path:
        """Where the file grows. The content's hash is in the name, so that no other version is ever gone on with."""
        path = folder / self.file
        return path.with_name(f".{path.name}.{(self.sha256 or self.blob)[:16]}.part")


@dataclasses.dataclass(frozen=True)
class State:
    """What of a model is on this machine."""

    kind: Literal["absent", "partial", "complete"]
    files: int
    """Whole files that are here."""
    wanted: int | None
    """Files there should be; None while a part was never begun."""
    bytes: int
    """On disk, unfinished files included."""
    missing: tuple[str, ...]
    """Names of the parts that are not complete."""

    def __str__(self) -> str:
        if self.kind != "partial":
            return self.kind
        return f"partial, {self.files} of {self.wanted} files" if self.wanted else f"lacks {', '.join(self.missing)}"


def part_folder(part: Part, folder: Path | None = None) -> Path:
    """Where a part lies."""
    return (folder or models_folder()) / part.name


def state(model: PublicModel, folder: Path | None = None) -> State:
    """What of a model is here, by the records and the sizes of files; ``verify`` looks into them."""
    files, wanted, size, missing, begun = 0, 0, 0, [], True
    for part in model.parts.values():
        place = part_folder(part, folder)
        record = read_record(place)
        here = [file for file in record if file.is_in(place)]
        files, wanted, size = files + len(here), wanted + len(record), size + _size(place)
        begun = begun and bool(record)
        if not record or len(here) < len(record):
            missing.append(part.name)
    kind = "complete" if not missing else "partial" if size else "absent"
    return State(kind, files, wanted if begun else None, size, tuple(missing))


def read_record(folder: Path) -> list[WantedFile]:
    """The record of a part's folder. Empty if there is none or it is damaged: a pull writes it again."""
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return [WantedFile(**entry) for entry in facts["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_record(folder: Path, part: Part, files: Sequence[WantedFile]) -> None:
    """Writes the record of a part's folder. Raises OutputError if that is not possible."""
    facts = {"part": part.name, "repo": part.repo, "files": [dataclasses.asdict(file) for file in files]}
    with whole_file(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _size(folder: Path) -> int:
    """Bytes of the files below a folder, those of our own book-keeping left out."""
    own = (RECORD, _LOCK)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name not in own)


def is_content(path: Path, file: WantedFile) -> bool:
    """Whether a file's bytes are the wanted ones, by SHA-256 or, for small files, by git's SHA-1."""
    if file.sha256:
        return file_hash(path) == file.sha256
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == file.blob


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Nobody else writes to the folder meanwhile. Raises WeightsError if somebody does."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(place / _LOCK), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise WeightsError(f"another pull is writing {place}; let it end or stop it, then try again") from error
    except NotImplementedError:  # some network disks have no locks: better without than not at all
        pass
    except OSError as error:
        raise output_error(place, error) from error
    try:
        yield
    finally:
        lock.release()


# -------------------------------------------------------------------------------------------------- verify and remove
def verify(
    model: PublicModel, quick: bool = False, progress: Progress | None = None, *, folder: Path | None = None
) -> list[str]:
    """Compares every file with the record: by its SHA-256, or by its size alone if ``quick``.

    Returns a line for each file that is missing, truncated or damaged; the next pull fetches those again. Raises
    WeightsError if nothing of the model is here.
    """
    records = {part.name: read_record(part_folder(part, folder)) for part in model.parts.values()}
    total, done, problems = sum(file.bytes for record in records.values() for file in record), 0, []
    if not total:
        raise WeightsError(f"nothing of {model.name} is here; get it with: happyhorse pull {model.name}")
    for part in model.parts.values():
        place, checked = part_folder(part, folder), []
        if not records[part.name]:
            problems.append(f"{part.name} was never pulled")
        for file in records[part.name]:
            if progress:
                progress(done, total, file.file)
            problem = _problem(place, file, quick)
            problems += [f"{part.name}/{file.file} is {problem}"] if problem else []
            checked.append(dataclasses.replace(file, damaged=problem is not None))
            done += file.bytes
        if not quick and checked != records[part.name]:
            write_record(place, part, checked)
    return problems


def _problem(place: Path, file: WantedFile, quick: bool) -> str | None:
    path = place / file.file
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if size != file.bytes:
        return f"{'truncated' if size < file.bytes else 'too long'}: {size} bytes instead of {file.bytes}"
    if quick:
        return "damaged" if file.damaged else None
    try:
        return None if is_content(path, file) else f"damaged: its hash is not {(file.sha256 or file.blob)[:16]}..."
    except OSError as error:
        return f"not readable ({error.strerror})"


@dataclasses.dataclass(frozen=True)
class Removed:
    """What ``remove`` did."""

    parts: tuple[str, ...]
    bytes: int
    """Freed on disk."""
    kept: dict[str, tuple[str, ...]]
    """Parts that stay, and the models that use them."""


def remove(model: PublicModel, force: bool = False, *, folder: Path | None = None) -> Removed:
    """Deletes a model's parts, but those that another model which is here or was begun uses (unless ``force``).

    Raises WeightsError if nothing of it is here, or if all that is here is used by others.
    """
    here = [part for part in model.parts.values() if part_folder(part, folder).is_dir()]
    if not here:
        raise WeightsError(f"nothing of {model.name} is in {folder or models_folder()}")
    used = {part.name: _users(part, model, folder) for part in here}
    kept = {} if force else {name: users for name, users in used.items() if users}
    gone = [part for part in here if part.name not in kept]
    if not gone:
        users = ", ".join(dict.fromkeys(user for users in kept.values() for user in users))
        raise WeightsError(
            f"{', '.join(kept)} is used by {users}; remove that first (happyhorse rm {users.split(', ')[0]}), "
            "or remove it all the same with --force"
        )
    freed = 0
    for part in gone:
        place = part_folder(part, folder)
        with alone(place):
            freed += _size(place)
        try:
            shutil.rmtree(place)
        except OSError as error:
            raise output_error(place, error) from error
    return Removed(tuple(part.name for part in gone), freed, kept)


def _users(part: Part, model: PublicModel, folder: Path | None) -> tuple[str, ...]:
    """Other models with a Transformer that is here, whole or not, and that need the part."""
    others = (other for other in MODELS if other.name != model.name and part in other.parts.values())
    return tuple(other.name for other in others if read_record(part_folder(other.parts["transformer"], folder)))
