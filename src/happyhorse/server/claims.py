"""Which jobs a worker gets: the oldest first, each to one worker, and those of lost workers again."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Row, and_, or_, select

from happyhorse.server.changes import change, finish, requeue
from happyhorse.server.records import CANCELLED, FAILED, IN_PROGRESS, QUEUED, WORKER_LOST, Job
from happyhorse.server.schema import jobs


def waits(models: Sequence[str]) -> ColumnElement[bool]:
    return and_(jobs.c.status == QUEUED, jobs.c.model.in_(models))


def lost(now: float) -> ColumnElement[bool]:
    """Jobs whose worker has not been heard of for longer than its lease."""
    return and_(jobs.c.status == IN_PROGRESS, jobs.c.lease_until < now)


def anything_to_do(connection: Connection, models: Sequence[str], now: float) -> bool:
    """A look without locks, so that idle workers disturb nobody."""
    return connection.execute(select(jobs.c.id).where(or_(waits(models), lost(now))).limit(1)).first() is not None


def settle_lost(connection: Connection, now: float, keep_seconds: float | None) -> int:
    """Takes jobs from lost workers: back into the queue, or to their end. Returns how many."""
    rows = _first(connection, lost(now))
    for row in rows:
        if row.cancel_requested:
            finish(connection, row.id, now, CANCELLED, keep_seconds)
        elif row.attempts >= row.attempts_max:
            message = f"the worker stopped answering in attempt {row.attempts} of {row.attempts_max}"
            error = {"code": WORKER_LOST, "message": message}
            finish(connection, row.id, now, FAILED, keep_seconds, error=error)
        else:
            requeue(connection, row.id, now, "lost")
    return len(rows)


def take(
    connection: Connection, worker: str, models: Sequence[str], now: float, lease_seconds: float, most: int
) -> list[Job]:
    """Leases the oldest waiting job, and up to ``most`` - 1 more that can be made together with it."""
    rows = _first(connection, waits(models), 1)
    if rows and most > 1 and _sociable(rows[0]):
        alike = and_(waits(models), jobs.c.batch == rows[0].batch, jobs.c.attempts == 0, jobs.c.id != rows[0].id)
        rows += _first(connection, alike, most - 1)
    return [_lease(connection, row, worker, now, lease_seconds) for row in rows]


def _sociable(row: Row) -> bool:
    """A job that has failed before runs alone, so that one that kills its worker takes no others with it."""
    return row.batch != "" and row.attempts == 0


def _first(connection: Connection, where: ColumnElement[bool], most: int | None = None) -> list[Row]:
    """The oldest rows, locked; PostgreSQL passes over those that another transaction has locked."""
    query = select(jobs).where(where).order_by(jobs.c.id).limit(most).with_for_update(skip_locked=True)
    return list(connection.execute(query))


def _lease(connection: Connection, row: Row, worker: str, now: float, lease_seconds: float) -> Job:
    lease = {"worker": worker, "lease_until": now + lease_seconds, "attempts": jobs.c.attempts + 1}
    return change(connection, row.id, now, "started", status=IN_PROGRESS, started_at=now, **lease)
