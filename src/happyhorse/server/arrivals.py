"""Files on their way in: under a new name, readable by this user only, and gone unless they arrive whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from happyhorse.files import output_error

_NAME = Path("the file that was sent")
"""What errors call it: they are shown to whoever sent it, and the real name tells of this machine."""


class Arrival:
    """A file that is being written; ``bytes`` have come so far."""

    def __init__(self, folder: Path | None, prefix: str) -> None:
        """Makes the file in ``folder`` (None: the system's for temporary files). Raises OutputError if it cannot be."""
        self.bytes = 0
        try:
            descriptor, name = tempfile.mkstemp(prefix=prefix, dir=folder)
        except OSError as error:
            raise output_error(_NAME, error) from error
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, block: bytes) -> None:
        """Raises OutputError if the disk does not take it."""
        try:
            self._file.write(block)
        except OSError as error:
            raise output_error(_NAME, error) from error
        self.bytes += len(block)

    def close(self) -> None:
        """Writes out what is held back. Raises OutputError if the disk does not take it."""
        try:
            self._file.close()
        except OSError as error:
            raise output_error(_NAME, error) from error

    def discard(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def arriving(folder: Path | None, prefix: str) -> Iterator[Arrival]:
    """Yields a new file to write to. It is complete when the block ends well, else it is removed."""
    arrival = Arrival(folder, prefix)
    try:
        yield arrival
        arrival.close()
    except BaseException:
        arrival.discard()
        raise
