"""The queue of jobs: accepted once, made once, whatever is killed in between.

Everything that is known of a job is in the database, and every change is one transaction together with the event that
tells of it. Submitting, reading and cancelling is here; what workers do is in ``leases``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import delete, func, select

from happyhorse.server.changes import change, finish, locked, read_job
from happyhorse.server.database import Database
from happyhorse.server.leases import Leases
from happyhorse.server.records import (
    CANCELLED,
    QUEUED,
    STATUSES,
    Event,
    Job,
    JobError,
    JobIds,
    Page,
    Submission,
    check_submission,
    is_job_id,
)
from happyhorse.server.schema import events, jobs
from happyhorse.server.submissions import accept, not_found

PAGE_MAX = 100


class Jobs(Leases):
    """All jobs of one database. Threads may share an instance; every process opens its own."""

    def __init__(
        self,
        url: str | Path,
        *,
        clock: Callable[[], float] = time.time,
        keep_seconds: float | None = None,
    ) -> None:
        """Opens the database at ``url`` and makes its tables if they are not there (see ``Database``).

        ``clock`` gives seconds since 1970. ``keep_seconds``: how long after its end a job expires; None: never.
        """
        super().__init__(Database(url), clock, keep_seconds)
        self._ids = JobIds()

    def close(self) -> None:
        self.database.close()

    # ---------------------------------------------------------------------------------------------- asking for clips
    def submit(self, submission: Submission) -> Job:
        """Accepts a job, or finds the one that the same owner submitted with the same idempotency key and request.

        Raises JobError naming a field and its limit, IdempotencyError if the key came with another request before,
        JobNotFoundError if ``remixed_from`` is not there (any more).
        """
        return self.submit_all([submission])[0]

    def submit_all(self, submissions: Sequence[Submission]) -> list[Job]:
        """Accepts all of several jobs, such as the previews of one wish, or none of them."""
        for submission in submissions:
            check_submission(submission)
        with self._change() as (connection, now):
            return [accept(connection, self._ids.new(now), now, submission) for submission in submissions]

    def get(self, job: str, owner: str | None = None) -> Job:
        """A job, of anyone or of one owner. Raises JobNotFoundError."""
        with self.database.read() as connection:
            row = connection.execute(select(jobs).where(*_named(job, owner))).one_or_none()
        if row is None:
            raise not_found(job)
        return read_job(row)

    def page(
        self,
        owner: str | None = None,
        *,
        after: str | None = None,
        limit: int = 20,
        order: str = "desc",
        group: str | None = None,
        status: str | None = None,
    ) -> Page:
        """A part of the jobs in order of submission, newest ("desc") or oldest ("asc") first, behind the id ``after``.

        Pages stay in step when jobs come or go in between, even when ``after`` itself was deleted. Raises JobError for
        an ``after``, ``limit`` (1 to 100), ``order`` or ``status`` that is none.
        """
        _check_page(after, limit, order, status)
        where = [] if owner is None else [jobs.c.owner == owner]
        where += [] if group is None else [jobs.c.group == group]
        where += [] if status is None else [jobs.c.status == status]
        if after is not None:
            where.append(jobs.c.id < after if order == "desc" else jobs.c.id > after)
        by = jobs.c.id.desc() if order == "desc" else jobs.c.id
        with self.database.read() as connection:
            rows = list(connection.execute(select(jobs).where(*where).order_by(by).limit(limit + 1)))
        return Page(tuple(map(read_job, rows[:limit])), len(rows) > limit)

    def request_cancel(self, job: str, owner: str | None = None) -> Job:
        """Cancels a waiting job at once, and asks the worker of a running one to stop; finished ones stay as they are.

        Once this was asked, the job is never completed. Raises JobNotFoundError.
        """
        with self._change() as (connection, now):
            row = locked(connection, *_named(job, owner))
            if row is None:
                raise not_found(job)
            if row.status == QUEUED:
                return finish(connection, job, now, CANCELLED, self.keep_seconds, cancel_requested=True)
            found = read_job(row)
            if found.finished or found.cancel_requested:
                return found
            return change(connection, job, now, "cancel_requested", cancel_requested=True)

    def delete(self, job: str, owner: str | None = None) -> None:
        """Forgets a job in whatever state, and its events; a worker that is at it stops. Raises JobNotFoundError.

        Its blobs are deleted by ``retention`` unless others refer to them.
        """
        with self._change() as (connection, _):
            found = connection.execute(delete(jobs).where(*_named(job, owner)))
        if not found.rowcount:
            raise not_found(job)

    # ------------------------------------------------------------------------------------------------ watching a job
    def events_after(self, job: str, sequence: int = 0, limit: int = 1000) -> list[Event]:
        """The events of a job behind number ``sequence``, in order; none if there is no such job."""
        query = select(events.c.job, events.c.sequence, events.c.time, events.c.kind, events.c.data)
        query = query.where(events.c.job == job, events.c.sequence > sequence).order_by(events.c.sequence).limit(limit)
        with self.database.read() as connection:
            return [Event(*row) for row in connection.execute(query)] if is_job_id(job) else []

    def last_sequences(self, names: Iterable[str]) -> dict[str, int]:
        """The number of the latest event of each job that is there: one question for any number of listeners."""
        known = [name for name in names if is_job_id(name)]
        query = select(jobs.c.id, jobs.c.sequence).where(jobs.c.id.in_(known))
        with self.database.read() as connection:
            return {row.id: row.sequence for row in connection.execute(query)}

    # ----------------------------------------------------------------------------------------------------- the queue
    def counts(self, owner: str | None = None) -> dict[str, int]:
        """How many jobs there are in each status."""
        query = select(jobs.c.status, func.count().label("number")).group_by(jobs.c.status)
        query = query if owner is None else query.where(jobs.c.owner == owner)
        with self.database.read() as connection:
            found = {row.status: row.number for row in connection.execute(query)}
        return {status: found.get(status, 0) for status in STATUSES}

    def position(self, job: str) -> int | None:
        """How many jobs of its model will be taken before a waiting job; None if it does not wait. Raises
        JobNotFoundError."""
        found = self.get(job)
        if found.status != QUEUED:
            return None
        ahead = (jobs.c.status == QUEUED, jobs.c.model == found.model, jobs.c.id < job)
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).where(*ahead)) or 0

    def oldest_waiting(self) -> float:
        """Seconds since the oldest waiting job was submitted; 0 if none waits."""
        with self.database.read() as connection:
            oldest = connection.scalar(select(func.min(jobs.c.created_at)).where(jobs.c.status == QUEUED))
        return 0.0 if oldest is None else max(self.clock() - oldest, 0.0)


def _named(job: str, owner: str | None) -> list[Any]:
    if not is_job_id(job):  # whatever it is, it never reaches the database
        raise not_found(job)
    return [jobs.c.id == job] if owner is None else [jobs.c.id == job, jobs.c.owner == owner]


def _check_page(after: str | None, limit: int, order: str, status: str | None) -> None:
    if after is not None and not is_job_id(after):
        raise JobError(f"after is {after[:40]!r}; it must be the id of a job")
    if not 1 <= limit <= PAGE_MAX:
        raise JobError(f"limit is {limit}; it must be 1 to {PAGE_MAX}")
    if order not in ("asc", "desc"):
        raise JobError(f"order is {order[:40]!r}; it must be asc or desc")
    if status is not None and status not in STATUSES:
        raise JobError(f"status is {status[:40]!r}; it must be one of {', '.join(STATUSES)}")
