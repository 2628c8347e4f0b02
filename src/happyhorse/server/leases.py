"""What workers do with jobs: lease them, say that they are alive, and hand in what they made.

A worker says again and again that it is alive; if it stops, the lease runs out and the job is taken up by another one.
What a worker may change is guarded by the job's id, the worker's name and the number of the attempt, so that one that
lost its lease can neither complete nor fail what is no longer its own.

Leases are compared between machines: choose them much longer than their clocks differ (a minute is plenty).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from happyhorse.server.changes import change, finish, held, locked, requeue
from happyhorse.server.claims import anything_to_do, settle_lost, take
from happyhorse.server.database import Database
from happyhorse.server.records import CANCELLED, COMPLETED, FAILED, Job
from happyhorse.server.schema import jobs

_STAGE_MAX = 64
_MESSAGE_MAX = 2000


class Leases:
    """The workers' side of the jobs in a database."""

    def __init__(self, database: Database, clock: Callable[[], float], keep_seconds: float | None) -> None:
        self.database = database
        self.clock = clock
        self.keep_seconds = keep_seconds

    def claim(self, worker: str, models: Sequence[str], lease_seconds: float) -> Job | None:
        """Leases the oldest waiting job of these models to a worker, or none.

        Jobs whose lease has run out come back into the queue before; if their attempts are used up, they have failed
        with the code "worker_lost".
        """
        return next(iter(self.claim_batch(worker, models, lease_seconds, most=1)), None)

    def claim_batch(self, worker: str, models: Sequence[str], lease_seconds: float, most: int) -> list[Job]:
        """The same, with up to ``most`` - 1 waiting previews that differ in nothing but prompt and seed.

        Each is a job with a lease of its own. A job that was attempted before always comes alone.
        """
        assert worker and most > 0 and lease_seconds > 0, "a worker has a name and asks for at least one job"
        with self.database.read() as connection:
            if not anything_to_do(connection, models, self.clock()):
                return []
        with self._change(durable=False) as (connection, now):
            settle_lost(connection, now, self.keep_seconds)
            return take(connection, worker, models, now, lease_seconds, most)

    def settle_lost(self) -> int:
        """Does what every claim begins with, for a server whose workers are all gone. Returns the jobs it changed."""
        with self._change(durable=False) as (connection, now):
            return settle_lost(connection, now, self.keep_seconds)

    def heartbeat(
        self, job: Job, worker: str, lease_seconds: float, progress: float | None = None, stage: str | None = None
    ) -> bool:
        """Renews a lease and says how far the job is; whether to go on with it.

        False: the job was deleted, the lease was lost, or the job is to be cancelled; then stop, and call
        ``cancelled``. ``progress`` is 0 to 100. A beat that changes nothing but the lease leaves no event.
        """
        with self._change(durable=False) as (connection, now):
            row = locked(connection, *held(job, worker))
            if row is None or row.cancel_requested:
                return False
            said = {
                "progress": row.progress if progress is None else min(max(float(progress), 0.0), 100.0),
                "stage": row.stage if stage is None else stage.replace("\0", "")[:_STAGE_MAX],
            }
            if (said["progress"], said["stage"]) != (row.progress, row.stage):
                change(connection, job.id, now, "progress", lease_until=now + lease_seconds, **said)
            else:
                lease = update(jobs).where(jobs.c.id == job.id).values(lease_until=now + lease_seconds)
                connection.execute(lease)
            return True

    def complete(self, job: Job, worker: str, result: dict[str, Any]) -> bool:
        """Hands in what was made: JSON, with the hashes of its blobs. Returns whether it counts.

        It does not if the lease was lost or the job deleted, nor if it was to be cancelled (then it is cancelled now).
        Safe to call again when the answer was lost: the attempt that completed the job is told so again.
        """
        with self._change() as (connection, now):
            row = locked(connection, *held(job, worker))
            if row is None:
                return _completed_by(connection, job, worker)
            if row.cancel_requested:
                finish(connection, job.id, now, CANCELLED, self.keep_seconds)
                return False
            finish(connection, job.id, now, COMPLETED, self.keep_seconds, progress=100.0, stage="", result=result)
            return True

    def fail(self, job: Job, worker: str, code: str, message: str, retry: bool = False) -> bool:
        """Ends a job with an error; with ``retry`` puts it back if attempts are left. Returns whether it was held."""
        error = {"code": code, "message": message[:_MESSAGE_MAX]}
        with self._change() as (connection, now):
            row = locked(connection, *held(job, worker))
            if row is None:
                return False
            if row.cancel_requested:
                finish(connection, job.id, now, CANCELLED, self.keep_seconds)
            elif retry and row.attempts < row.attempts_max:
                requeue(connection, job.id, now, "retried", error)
            else:
                finish(connection, job.id, now, FAILED, self.keep_seconds, error=error)
            return True

    def cancelled(self, job: Job, worker: str) -> bool:
        """Says that a worker has stopped at a job that was to be cancelled. Returns whether it was held."""
        with self._change() as (connection, now):
            row = locked(connection, *held(job, worker))
            if row is None or not row.cancel_requested:
                return False
            finish(connection, job.id, now, CANCELLED, self.keep_seconds)
            return True

    def release(self, job: Job, worker: str) -> bool:
        """Gives a job back undone, as a worker does that is told to stop; the attempt is not counted against it."""
        with self._change() as (connection, now):
            row = locked(connection, *held(job, worker))
            if row is None:
                return False
            if row.cancel_requested:
                finish(connection, job.id, now, CANCELLED, self.keep_seconds)
            else:
                requeue(connection, job.id, now, "released", attempts_max=row.attempts_max + 1)
            return True

    @contextlib.contextmanager
    def _change(self, durable: bool = True) -> Iterator[tuple[Connection, float]]:
        """A writing transaction and its time, which is read once the transaction has begun to hold its locks.

        Leases and progress need not be ``durable``: if the power fails, their workers are gone as well.
        """
        with self.database.write(durable) as connection:
            yield connection, self.clock()


def _completed_by(connection: Connection, job: Job, worker: str) -> bool:
    done = (jobs.c.id == job.id, jobs.c.worker == worker, jobs.c.attempts == job.attempts, jobs.c.status == COMPLETED)
    return connection.execute(select(jobs.c.id).where(*done)).first() is not None
