"""One sync of the disk for all threads that wait for it: commits of SQLite, shared.

SQLite has one writer at a time, and each commit waits for the disk. While threads queue for their turn, the transaction
stays open and each does its part in a savepoint; the last of them commits for all. A part that fails is undone alone.
If the commit fails, nothing of any part is kept, and every thread is told so.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from sqlalchemy import Connection, Engine
from sqlalchemy import exc as database_errors

_PARTS_MAX = 64
"""After so many parts the transaction is committed even if more threads wait: other processes wait too."""
_LOOK_SECONDS, _PATIENCE_SECONDS = 0.05, 2.0


class _Shared:
    """A transaction that several threads do their parts in, one after the other."""

    def __init__(self, engine: Engine) -> None:
        self.connection = engine.connect()
        try:
            self.transaction = self.connection.begin()
        except BaseException:
            self.connection.close()
            raise
        self.parts = 0
        self.error: Exception | None = None
        self.over = threading.Event()

    @property
    def broken(self) -> bool:
        """Whether SQLite itself undid everything, as it does when the disk is full."""
        return not self.connection.connection.in_transaction  # type: ignore[attr-defined]

    def end(self) -> None:
        try:
            if self.broken:
                raise database_errors.OperationalError("COMMIT", None, RuntimeError("the transaction was undone"))
            self.transaction.commit()
        except Exception as error:
            self.error = error
            # A failed commit may leave the transaction open; with the connection it is gone for certain.
            self.connection.invalidate(error)
        finally:
            with contextlib.suppress(Exception):
                self.connection.close()
            self.over.set()


class SharedCommits:
    """Hands out turns to write to the threads of this process."""

    def __init__(self, engine: Engine) -> None:
        """``engine`` begins transactions by taking SQLite's write lock."""
        self._engine = engine
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._open: _Shared | None = None

    @contextlib.contextmanager
    def part(self) -> Iterator[Connection]:
        """A part of a transaction; when the block is left without an error, it is on the disk."""
        self._enter()
        try:
            shared = self._open = self._open or _Shared(self._engine)
            try:
                with shared.connection.begin_nested():
                    yield shared.connection
            finally:
                shared.parts += 1
                if shared.broken or self._waiting == 0 or shared.parts >= _PARTS_MAX:
                    self._end()
        finally:
            self._turn.release()
        self._wait(shared)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A turn for a transaction of one's own."""
        self._enter()
        try:
            self._end()
            yield
        finally:
            self._turn.release()

    def _enter(self) -> None:
        with self._count:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._count:
                self._waiting -= 1

    def _end(self) -> None:
        shared, self._open = self._open, None
        if shared is not None:
            shared.end()

    def _wait(self, shared: _Shared) -> None:
        """Until somebody has committed. Whoever was to do so may have been interrupted; then this thread does."""
        begin = time.monotonic()
        while not shared.over.wait(_LOOK_SECONDS):
            with self._turn:
                patient = self._waiting > 0 and time.monotonic() < begin + _PATIENCE_SECONDS
                if self._open is shared and not patient:
                    self._end()
        if shared.error is not None:
            raise shared.error
