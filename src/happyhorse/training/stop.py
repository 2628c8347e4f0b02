"""When a run ends before its last step: someone asks for it, or its time is up. It never ends inside of a step."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

DONE, INTERRUPTED, TIME_IS_UP = "done", "interrupted", "time is up"


class Stopped(Exception):
    """Work was left before its end, for the reason it names."""


class Stop:
    """Why to stop, if there is a reason."""

    def __init__(self, minutes: float | None = None) -> None:
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self.interrupted = False

    def reason(self) -> str | None:
        if self.interrupted:
            return INTERRUPTED
        return TIME_IS_UP if self._deadline is not None and time.monotonic() >= self._deadline else None

    def check(self) -> None:
        """Raises Stopped if there is a reason: for work that cannot go on from its middle."""
        if reason := self.reason():
            raise Stopped(reason)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Inside of the block the first Ctrl-C (or SIGTERM) asks for a stop; a second one interrupts at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen to signals
            return
        previous = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
