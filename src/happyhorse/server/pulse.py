"""A job in a worker: its lease is kept, its progress told, and what is not to be finished is interrupted."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence

from happyhorse.server.jobs import Jobs
from happyhorse.server.progress import Stages, Track, stage_text
from happyhorse.server.records import Job, JobStoreError

TELL_EVERY = 0.2
"""Least seconds between two messages of progress."""
BEAT_EVERY = 1.0
"""Most seconds between two signs that a job is alive."""
SILENT_MAX = 1800.0
"""Seconds that one step may take; a worker that is silent for longer hangs, and is ended."""
EXIT_HANGS = 70
log = logging.getLogger("happyhorse.worker")


class Interrupted(Exception):
    """Raised out of a pipeline's step: the job is not to be finished here."""


class Pulse:
    """Keeps a job's lease while the block lasts, and is told of the pipeline's progress: ``pulse(stage, done, total)``.

    Raises Interrupted out of that call if the job was cancelled or deleted, if its lease was lost, or if the worker is
    to stop. A thread of its own says that the job is alive, so that a long step loses no lease.
    """

    def __init__(self, queue: Jobs, job: Job, worker: str, lease_seconds: float, stopping: threading.Event) -> None:
        self.job = job
        self._track = Track((("", 1.0),))
        self._queue, self._worker, self._lease = queue, worker, lease_seconds
        self._stopping, self._lost, self._ended = stopping, threading.Event(), threading.Event()
        self._said = self._heard = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name=f"pulse of {job.id}", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.check()
        percent, now = self._track(stage, done, total), time.monotonic()
        self._heard = now
        if now - self._said >= TELL_EVERY:
            self._said = now
            self._tell(percent, stage_text(stage, done, total))
            self.check()

    def goes_through(self, stages: Stages) -> None:
        """What the job's progress is counted by."""
        self._track = Track(stages)

    def check(self) -> None:
        """Raises Interrupted if the job is not to be finished."""
        if self._stopping.is_set() or self._lost.is_set():
            raise Interrupted

    def _tell(self, progress: float | None = None, stage: str | None = None) -> None:
        # A database that does not answer for a moment is no reason to drop the work; the lease decides.
        with contextlib.suppress(JobStoreError):
            if not self._queue.heartbeat(self.job, self._worker, self._lease, progress, stage):
                self._lost.set()

    def _beat(self) -> None:
        while not self._ended.wait(min(BEAT_EVERY, self._lease / 4)):
            if time.monotonic() - self._heard > SILENT_MAX:
                log.error("%s: no step in %g s; this worker hangs and ends", self.job.id, SILENT_MAX)
                os._exit(EXIT_HANGS)
            self._tell()


class Pulses:
    """The pulses of jobs that are made together: one that is interrupted leaves the others alone."""

    def __init__(self, pulses: Sequence[Pulse]) -> None:
        self.alive = list(pulses)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Raises Interrupted once none is left."""
        for pulse in list(self.alive):
            try:
                pulse(stage, done, total)
            except Interrupted:
                self.alive.remove(pulse)
        self.check()

    def check(self) -> None:
        if not self.alive:
            raise Interrupted
