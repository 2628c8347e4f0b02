"""Clips and what goes with them, kept under the SHA-256 of their bytes on a disk or in an object store.

Nothing that a client says becomes a path: a blob is found by its hash alone, which is checked to be one. A blob is
there as a whole or not at all, and the same bytes put twice are one blob; putting it again makes it young again, so
that ``retention`` leaves it alone while a job is on its way that refers to it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from happyhorse.errors import MediaError
from happyhorse.server.blob_stores import Bucket, Folder, Stored
from happyhorse.server.records import is_hash


@dataclasses.dataclass(frozen=True)
class Blob:
    """What was put. The store knows bytes only; the job's record keeps their media type."""

    hash: str
    bytes: int
    media_type: str


class Blobs:
    """A store of blobs; any number of processes may share it."""

    def __init__(self, place: str | Path) -> None:
        """``place``: a folder, or a URL: file:///FOLDER, s3://BUCKET/PREFIX, gs://, abfs://, memory://NAME (for tests).

        Raises ConfigError for other URLs, MissingToolError without the package that speaks to the store, OutputError if
        the folder cannot be made.
        """
        text = str(place)
        local = isinstance(place, Path) or "://" not in text or text.startswith("file://")
        self._store = Folder(Path(text.removeprefix("file://"))) if local else Bucket(text)

    def put_bytes(self, data: bytes, media_type: str) -> Blob:
        """Keeps bytes. Raises OutputError if they cannot be written."""
        return Blob(self._store.put(io.BytesIO(data)), len(data), media_type)

    def put_file(self, path: Path | str, media_type: str) -> Blob:
        """Keeps a copy of a file. Raises MediaError if it cannot be read, OutputError if the copy cannot be written."""
        try:
            with Path(path).open("rb") as file:
                name = self._store.put(file)
                return Blob(name, file.tell(), media_type)
        except OSError as error:
            raise MediaError(f"{path} cannot be read: {error.strerror or error}; give the path of a file") from error

    def open(self, name: str) -> BinaryIO:
        """The bytes of a blob, for reading and seeking. Raises MediaError if it is not there."""
        try:
            return self._store.open(_checked(name))
        except FileNotFoundError as error:
            raise _missing(name) from error

    def local_path(self, name: str) -> Path | None:
        """Where a blob lies, if the store is a folder on this machine. Raises MediaError if it is not there."""
        if self._store.stored(_checked(name)) is None:
            raise _missing(name)
        return self._store.path(name) if isinstance(self._store, Folder) else None

    def exists(self, name: str) -> bool:
        return is_hash(name) and self._store.stored(name) is not None

    def size(self, name: str) -> int:
        """Bytes of a blob. Raises MediaError if it is not there."""
        found = self._store.stored(_checked(name))
        if found is None:
            raise _missing(name)
        return found.bytes

    def intact(self, name: str) -> bool:
        """Reads a blob and compares its hash. Raises MediaError if it is not there."""
        with self.open(name) as file:
            return hashlib.file_digest(cast(io.BufferedReader, file), "sha256").hexdigest() == name

    def delete(self, name: str, before: float | None = None) -> bool:
        """Deletes a blob; with ``before`` (seconds since 1970) only if it was not put after that. Whether it did."""
        return self._store.delete(_checked(name), before)

    def stored(self) -> Iterator[Stored]:
        """All blobs that are there, in no order."""
        return self._store.all()

    def sweep(self, before: float) -> int:
        """Removes what puts have left unfinished before a time in seconds since 1970. Returns how many files."""
        return self._store.sweep(before)


def _checked(name: str) -> str:
    if not is_hash(name):
        raise MediaError(f"{name[:70]!r} is not the hash of a blob; it must be 64 hex digits")
    return name


def _missing(name: str) -> MediaError:
    return MediaError(f"the blob {name[:16]}... is not there (any more)")
