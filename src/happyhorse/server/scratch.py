"""Folders for what is on its way: removed after use, and swept by whoever starts next if their process was killed.

Whoever uses one holds a lock on it, which the system lifts from a killed process. Process ids would not do: containers
that share a disk do not share them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "happyhorse-"
YOUNG_SECONDS = 60.0
"""A folder that is younger may be about to be locked."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder among the system's for temporary files; gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name, _held(Path(name)):
        yield Path(name)


def sweep(now: float | None = None) -> int:
    """Removes folders that nobody holds any more. Returns how many."""
    before = (time.time() if now is None else now) - YOUNG_SECONDS
    left = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if _is_left(path, before)]
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    return len(left)


def _is_left(path: Path, before: float) -> bool:
    try:
        facts = path.lstat()
        # A link, or what belongs to somebody else, is none of ours, whatever it is called.
        if not path.is_dir() or path.is_symlink() or facts.st_uid != os.getuid() or facts.st_mtime > before:
            return False
        with _held(path):
            return True
    except OSError:  # somebody holds it, or has just removed it
        return False


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a folder. Raises OSError if another process has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
