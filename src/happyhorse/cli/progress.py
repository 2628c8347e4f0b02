"""Live progress of a clip in the making, one line per stage with its time left, on stderr."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

WORDS = (
    ("load", "loading weights"),
    ("read", "reading the prompt"),
    ("denoise", "denoising"),
    ("enlarge", "enlarging"),
    ("render", "rendering"),
    ("picture", "drawing frames"),
    ("sound", "making sound"),
    ("write", "writing the file"),
    ("fit", "making instruments"),
    ("cases", "measuring"),
    ("compile", "compiling"),
    ("compare", "comparing"),
)


class StageProgress:
    """Called with (stage, done, total); draws only on a terminal, so that logs stay clean."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._bars:
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(dict(WORDS).get(stage, stage), total=total)
        self._bars.update(self._tasks[stage], completed=done)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def bytes_bar() -> Any:
    """A bar for bytes, with speed and time left, not started yet."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    name = TextColumn("{task.description:<34.34}")
    columns = (name, BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
