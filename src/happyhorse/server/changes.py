"""The one way in which a job changes: the row, its event, and what follows from an end, in the same transaction."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from happyhorse.server.records import IN_PROGRESS, QUEUED, Job, Webhook, referenced
from happyhorse.server.schema import blob_references, events, jobs, outbox

_INSERT_EVENT = insert(events)


def read_job(row: Row) -> Job:
    values = dict(row._mapping)
    values["webhook"] = Webhook(**values["webhook"]) if values["webhook"] else None
    return Job(**{field.name: values[field.name] for field in dataclasses.fields(Job)})


def change(
    connection: Connection, job: str, now: float, kind: str, cause: dict[str, Any] | None = None, **columns: Any
) -> Job:
    """Sets columns of a job and appends the event that says so, with the error that was its ``cause``.

    The caller has checked and locked the row.
    """
    columns["sequence"] = jobs.c.sequence + 1
    row = connection.execute(update(jobs).where(jobs.c.id == job).values(columns).returning(jobs)).one()
    record_event(connection, row, now, kind, cause or row.error)
    return read_job(row)


def record_event(connection: Connection, row: Row, now: float, kind: str, error: dict[str, Any] | None = None) -> None:
    data = {"status": row.status, "progress": row.progress, "stage": row.stage, "attempt": row.attempts}
    data |= {"error": error} if error else {}
    event = {"job": row.id, "sequence": row.sequence, "time": now, "kind": kind, "data": data}
    connection.execute(_INSERT_EVENT, event)


def finish(
    connection: Connection,
    job: str,
    now: float,
    status: str,
    keep_seconds: float | None,
    **columns: Any,
) -> Job:
    """Ends a job for good, holds on to the blobs of its result, and owes its webhook a message."""
    ends = {"status": status, "completed_at": now, "lease_until": None}
    expires = None if keep_seconds is None else now + keep_seconds
    ended = change(connection, job, now, status, **ends, expires_at=expires, **columns)
    refer(connection, job, ended.result)
    if ended.webhook:
        connection.execute(insert(outbox).values(job=job, event=status, attempts=0, due_at=now, outcome=""))
    return ended


def requeue(
    connection: Connection, job: str, now: float, kind: str, cause: dict[str, Any] | None = None, **columns: Any
) -> Job:
    """Puts a job back where the next worker finds it; its id keeps its place in the queue."""
    back = {"status": QUEUED, "worker": "", "lease_until": None, "progress": 0.0, "stage": ""}
    return change(connection, job, now, kind, cause, **back, **columns)


def refer(connection: Connection, job: str, value: Any) -> None:
    """Keeps the blobs that a JSON value names for as long as the job is there."""
    rows = [{"job": job, "hash": name} for name in sorted(referenced(value))]
    if rows:
        connection.execute(ignoring_conflicts(connection, blob_references), rows)


def ignoring_conflicts(connection: Connection, table: Any) -> Any:
    """An insert that leaves rows alone that are there already."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()


def locked(connection: Connection, *where: ColumnElement[bool]) -> Row | None:
    """The row that meets the conditions; nobody else changes it before the transaction ends."""
    return connection.execute(select(jobs).where(*where).with_for_update()).one_or_none()


def held(job: Job, worker: str) -> tuple[ColumnElement[bool], ...]:
    """What is true as long as the attempt that ``job`` was claimed for is the one that counts."""
    return (jobs.c.id == job.id, jobs.c.worker == worker, jobs.c.attempts == job.attempts, jobs.c.status == IN_PROGRESS)
