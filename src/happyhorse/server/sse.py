"""Events as they happen: server-sent events of a job, for any number of listeners, with one question to the database.

Each listener reads its job's events by their numbers, so that none is missed or told twice; ``Last-Event-ID`` goes on
where a connection broke off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator

from happyhorse.server.errors import ServiceError
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import FINISHED, Event, JobStoreError
from happyhorse.server.service import in_thread
from happyhorse.server.views import happening

LOOK_EVERY = 0.25
"""Seconds between two looks for changes."""
KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent, so that connections stay open."""
RETRY_MILLISECONDS = 1000
DELETED = "deleted"


class Listeners:
    """Tells coroutines when the jobs that they listen to have changed. Belongs to one event loop."""

    def __init__(self, queue: Jobs, most: int = 1000, look_every: float = LOOK_EVERY) -> None:
        self._queue, self._most, self._look_every = queue, most, look_every
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._known: dict[str, int | None] = {}
        self._watch: asyncio.Task[None] | None = None
        self.ending = False

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def follow(self, job: str, after: int = 0) -> AsyncIterator[Event | None]:
        """The job's events behind number ``after`` until it is finished or deleted; None where nothing happens for a
        while."""
        with self._listening(job) as changed:
            while True:
                changed.clear()
                events = await in_thread(self._queue.events_after, job, after)
                for event in events:
                    after = event.sequence
                    yield event
                if events and events[-1].data["status"] in FINISHED:
                    return
                if self.ending or (not events and self._known.get(job, 0) is None):
                    return
                try:
                    await asyncio.wait_for(changed.wait(), KEEP_ALIVE)
                except TimeoutError:
                    yield None

    async def finished(self, job: str, seconds: float) -> bool:
        """Waits until a job is finished or deleted; whether it was within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.follow(job):
                    pass
                return True
        return False

    def end(self) -> None:
        """Lets all listeners go in a moment, and those who come after them: the server is to stop."""
        self.ending = True

    def check(self) -> None:
        """Raises ServiceError if too many listen already."""
        if len(self) >= self._most:
            message = f"{self._most} event streams are open, which is the limit; poll instead"
            raise ServiceError(503, "too_many_listeners", message, None, 5)

    @contextlib.contextmanager
    def _listening(self, job: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._waiting.setdefault(job, set()).add(changed)
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._look())
        try:
            yield changed
        finally:
            self._waiting[job].discard(changed)
            if not self._waiting[job]:
                del self._waiting[job]
                self._known.pop(job, None)

    async def _look(self) -> None:
        """Runs for as long as anybody listens."""
        while self._waiting:
            if self.ending:
                self._wake(*self._waiting)
            names = list(self._waiting)
            try:
                found = await in_thread(self._queue.last_sequences, names)
            except JobStoreError:  # those who listen hear nothing until the database answers again
                await asyncio.sleep(1.0)
                continue
            for name in names:
                latest = found.get(name)
                if name in self._waiting and self._known.get(name, 0) != latest:
                    self._known[name] = latest
                    self._wake(name)
            await asyncio.sleep(self._look_every)

    def _wake(self, *names: str) -> None:
        for name in names:
            for changed in self._waiting[name]:
                changed.set()


async def stream(listeners: Listeners, job: str, after: int) -> AsyncIterator[bytes]:
    """The text of an event stream."""
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    status = ""
    async for event in listeners.follow(job, after):
        if event is None:
            yield b": still here\n\n"
            continue
        status = event.data["status"]
        yield message(event)
    if status not in FINISHED and not listeners.ending:
        yield _text(DELETED, None, {"id": job, "object": "video.event", "kind": DELETED, "status": DELETED})


def message(event: Event) -> bytes:
    """One event in the stream's format."""
    return _text(event.kind, event.sequence, happening(event))


def _text(kind: str, number: int | None, data: dict) -> bytes:
    lines = [f"event: {kind}", *([f"id: {number}"] if number is not None else []), f"data: {json.dumps(data)}"]
    return ("\n".join(lines) + "\n\n").encode()


def last_event(header: str | None) -> int:
    """The number in Last-Event-ID; 0 if it is none of ours."""
    text = (header or "").strip()
    return min(int(text), 2**31) if text.isascii() and text.isdigit() and len(text) < 12 else 0
