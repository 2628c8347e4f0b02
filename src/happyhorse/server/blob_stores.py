"""Where blobs lie: a folder of this machine, or a bucket of an object store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from happyhorse.errors import ConfigError, MissingToolError, OutputError
from happyhorse.files import make_folder, output_error
from happyhorse.server.records import is_hash

_CHUNK = 1 << 20
_WHOLE = 64 << 20
"""Bytes up to which an object is sent in one request; larger ones go in parts, and are there when all parts are."""
_ATOMIC = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "az": "adlfs",
    "memory": "fsspec",
}
"""Stores in which an object appears as a whole, and the package that speaks to each."""


@dataclasses.dataclass(frozen=True)
class Stored:
    """A blob as it lies in its store."""

    hash: str
    bytes: int
    modified: float
    """When it was put last, in seconds since 1970."""


class Folder:
    """Blobs at ROOT/ab/abcd..., written beside them under ROOT/incoming and moved when they are complete."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._incoming = self._root / "incoming"
        make_folder(self._incoming)

    def path(self, name: str) -> Path:
        return self._root / name[:2] / name

    def put(self, source: Any) -> str:
        """Copies an open file, and returns its hash. Raises OutputError."""
        temporary = self._incoming / secrets.token_hex(16)
        try:
            name = _copy(source, temporary)
            self._place(temporary, name)
        except OSError as error:
            raise output_error(self._root, error) from error
        finally:
            temporary.unlink(missing_ok=True)
        return name

    def _place(self, temporary: Path, name: str) -> None:
        final = self.path(name)
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            _sync_folder(self._root)
        # Also where the same bytes are there already: the blob is young again, and a deletion leaves it alone.
        with self._lock(exclusive=False):
            os.utime(temporary)
            os.replace(temporary, final)
        _sync_folder(final.parent)

    def open(self, name: str) -> BinaryIO:
        return self.path(name).open("rb")

    def stored(self, name: str) -> Stored | None:
        try:
            found = self.path(name).stat()
        except FileNotFoundError:
            return None
        return Stored(name, found.st_size, found.st_mtime)

    def delete(self, name: str, before: float | None) -> bool:
        with self._lock(exclusive=True):
            found = self.stored(name)
            if found is None or (before is not None and found.modified > before):
                return False
            self.path(name).unlink()
            return True

    def all(self) -> Iterator[Stored]:
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            found = self.stored(path.name) if is_hash(path.name) else None
            if found:
                yield found

    @contextlib.contextmanager
    def _lock(self, exclusive: bool) -> Iterator[None]:
        """Keeps puts from coming between a deletion's look and its deed; the system lifts it from a killed process."""
        with (self._root / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield

    def sweep(self, before: float) -> int:
        removed = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime <= before:
                    path.unlink()
                    removed += 1
        return removed


class Bucket:
    """Blobs as objects PREFIX/ab/abcd... of a store that shows an object only when it is complete."""

    def __init__(self, url: str) -> None:
        protocol = url.split("://")[0]
        if protocol not in _ATOMIC:
            raise ConfigError(f"blobs cannot be kept in {protocol}://; give a folder or {'://, '.join(_ATOMIC)}://")
        try:
            import fsspec

            # Listings that are kept would hide what other processes put.
            self._files, self._root = fsspec.url_to_fs(url, use_listings_cache=False)
        except ImportError as error:
            raise MissingToolError(
                f"{protocol}:// needs a package; install it: pip install {_ATOMIC[protocol]}"
            ) from error

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Every store's package has errors of its own for a store that does not answer or refuses."""
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:
            raise OutputError(f"the blob store {self._root} does not answer: {error}") from error

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name[:2]}/{name}"

    def put(self, source: Any) -> str:
        """Sends an open file, and returns its hash. Raises OutputError."""
        with tempfile.TemporaryDirectory(prefix="happyhorse-") as folder:
            # The hash must be known before the first byte is sent, and be that of the bytes that are sent.
            copy = Path(folder) / "blob"
            try:
                name = _copy(source, copy, sync=False)
            except OSError as error:
                raise output_error(copy, error) from error
            try:
                with self._answers():
                    self._send(copy, self._path(name))
            except FileNotFoundError as error:
                raise OutputError(f"there is no blob store {self._root}; make the bucket first") from error
        return name

    def _send(self, copy: Path, path: str) -> None:
        if copy.stat().st_size <= _WHOLE:
            self._files.pipe_file(path, copy.read_bytes())
        else:
            self._files.put_file(str(copy), path)

    def open(self, name: str) -> BinaryIO:
        with self._answers():
            return cast(BinaryIO, self._files.open(self._path(name), "rb"))

    def stored(self, name: str) -> Stored | None:
        with contextlib.suppress(FileNotFoundError), self._answers():
            return _stored(name, self._files.info(self._path(name)))

    def delete(self, name: str, before: float | None) -> bool:
        found = self.stored(name)
        if found is None or (before is not None and found.modified > before):
            return False
        with contextlib.suppress(FileNotFoundError), self._answers():
            self._files.rm_file(self._path(name))
            return True
        return False

    def all(self) -> Iterator[Stored]:
        found = dict[str, Any]()
        with contextlib.suppress(FileNotFoundError), self._answers():
            found = self._files.find(self._root, detail=True)
        for path, info in found.items():
            if is_hash(name := path.rsplit("/", 1)[-1]):
                yield _stored(name, info)

    def sweep(self, before: float) -> int:
        return 0  # unfinished uploads in parts are removed by the bucket's own rules


def _copy(source: Any, target: Path, sync: bool = True) -> str:
    """Copies an open file from where it stands to its end; the SHA-256 of what was copied."""
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Makes sure that a file's new name is on the disk, not only its bytes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _stored(name: str, info: dict[str, Any]) -> Stored:
    when = next(
        (info[key] for key in ("LastModified", "last_modified", "mtime", "updated", "created") if key in info), 0
    )
    if isinstance(when, str):
        when = datetime.datetime.fromisoformat(when)
    return Stored(name, info["size"], when.timestamp() if isinstance(when, datetime.datetime) else float(when))
