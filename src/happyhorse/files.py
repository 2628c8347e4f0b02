"""Files written whole or not at all: a temporary name in the same folder, renamed when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from happyhorse.errors import OutputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME_BYTES_MAX = 255
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def check_output(path: Path, overwrite: bool = False) -> None:
    """Raises OutputError if a file cannot be made at ``path``: cheap, so that it is asked before hours of work."""
    # os.path answers False where pathlib raises: for names too long, and for paths below a file.
    folder = path.parent
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise OutputError(f"{folder} is a file, not a folder; choose another output folder")
    if not os.path.exists(folder):
        raise OutputError(f"the folder {folder} does not exist; make it first (mkdir -p {folder}) or choose another")
    if len(os.fsencode(path.name)) > _NAME_BYTES_MAX:
        raise OutputError(
            f"the file name {path.name[:40]}... is longer than {_NAME_BYTES_MAX} bytes; choose a shorter one"
        )
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; give the name of a file in it")
    if os.path.exists(path) and not overwrite:
        raise OutputError(f"{path} exists; choose another name or allow overwriting (--overwrite, overwrite=True)")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {folder} is not writable; choose another or change its permissions")


@contextlib.contextmanager
def whole_file(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write to; it becomes ``path`` only if the block ends well, else it is removed.

    Raises OutputError when the file cannot be written (folder missing or not writable, disk full, output exists).
    """
    path = Path(path)
    check_output(path, overwrite)
    temporary = path.with_name(f".{path.stem[:40]}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        # After a good end the temporary name is gone already; after an error or Ctrl-C nothing may stay behind.
        temporary.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """The error of the operating system as a line that says what to do."""
    if error.errno in _NO_SPACE:
        return OutputError(f"no space left to write {path}; free some space or choose another disk")
    if error.errno in _NO_PERMISSION:
        return OutputError(f"{path} may not be written; choose another folder or change its permissions")
    return OutputError(f"{path} could not be written: {error.strerror or error}; choose another place")


def make_folder(path: Path) -> None:
    """Makes a folder if it is not there. Raises OutputError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
