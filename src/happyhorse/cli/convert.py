"""``happyhorse convert``: a Transformer's weights in the format that a machine has room for."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from happyhorse.cli.progress import bytes_bar
from happyhorse.errors import OutputError
from happyhorse.weights.convert import convert, converted_folder
from happyhorse.weights.formats import check_format
from happyhorse.weights.registry import is_public, public


def convert_model(
    source: Path | str, out: Path | None, number_format: str, kind: str | None = None, device: str | None = None
) -> None:
    """Converts ``source`` into the new folder ``out`` and prints what that did, in a line.

    The name of a public model stands for its Transformer, and needs no ``out``: the copy lies beside it, where
    ``generate --format`` finds it.
    Raises WeightsError or OutputError as ``happyhorse.weights.convert.convert`` does.
    """
    check_format(number_format)
    if is_public(source):
        name = str(source)
        source, out = public(name).folders["transformer"], out or converted_folder(name, number_format)
    if out is None:
        raise OutputError(f"say where the copy of {source} goes: happyhorse convert {source} FOLDER")
    begun = time.monotonic()
    with BytesProgress("converting") as progress:
        done = convert(source, out, number_format, kind=kind, device=device or "cpu", progress=progress)
    files = "1 file" if done.files == 1 else f"{done.files} files"
    print(
        f"{out}  {done.number_format}, {_size(done.bytes_before)} -> {_size(done.bytes_after)} in {files}, "
        f"{time.monotonic() - begun:.1f} s",
        flush=True,
    )


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.2f} MB"


class BytesProgress:
    """Called with (bytes done, bytes in all); draws speed and time left on a terminal, so that logs stay clean."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bars: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bars = bytes_bar()
            self._task = self._bars.add_task(self._what, total=None)
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, done: int, total: int) -> None:
        if self._bars:
            self._bars.update(self._task, completed=done, total=total)
