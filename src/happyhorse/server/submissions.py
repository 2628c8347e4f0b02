"""How a job is accepted: once per idempotency key, and never without what it builds on."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from happyhorse.server.changes import ignoring_conflicts, locked, read_job, record_event, refer
from happyhorse.server.records import (
    QUEUED,
    IdempotencyError,
    Job,
    JobNotFoundError,
    JobStoreError,
    Submission,
    batch_of,
    fingerprint_of,
    is_job_id,
)
from happyhorse.server.schema import jobs


def accept(connection: Connection, name: str, now: float, submission: Submission) -> Job:
    """The new job with the id ``name``, or the one that was submitted with the same idempotency key before."""
    same = (jobs.c.owner == submission.owner, jobs.c.idempotency_key == submission.idempotency_key)
    if submission.idempotency_key and (known := locked(connection, *same)):
        return _repeated(known, submission)
    if submission.remixed_from:
        _hold(connection, submission.remixed_from)
    values = _new_row(submission, name, now)
    row = connection.execute(ignoring_conflicts(connection, jobs).returning(jobs), values).one_or_none()
    if row is None:  # another connection submitted the same key between the look and the insert
        return _repeated(locked(connection, *same), submission)
    record_event(connection, row, now, QUEUED)
    refer(connection, row.id, submission.request)
    return read_job(row)


def _new_row(submission: Submission, name: str, now: float) -> dict[str, Any]:
    webhook = submission.webhook
    return {
        "id": name,
        "kind": submission.kind,
        "owner": submission.owner,
        "model": submission.model,
        "request": submission.request,
        "status": QUEUED,
        "progress": 0.0,
        "stage": "",
        "created_at": now,
        "attempts": 0,
        "attempts_max": submission.attempts_max,
        "worker": "",
        "cancel_requested": False,
        "remixed_from": submission.remixed_from,
        "idempotency_key": submission.idempotency_key,
        "webhook": {"url": webhook.url, "secret_id": webhook.secret_id} if webhook else None,
        "group": submission.group,
        "dialect": submission.dialect,
        "fingerprint": fingerprint_of(submission),
        "batch": batch_of(submission),
        "sequence": 1,
    }


def _repeated(known: Row | None, submission: Submission) -> Job:
    if known is None:
        raise JobStoreError("a job with this idempotency key was deleted at this very moment; try again")
    if known.fingerprint != fingerprint_of(submission):
        raise IdempotencyError(
            f"the idempotency key {submission.idempotency_key!r} was used for {known.id} with another request; "
            "use a new key for a new request"
        )
    return read_job(known)


def _hold(connection: Connection, source: str) -> None:
    """Makes sure that a job is not deleted before one that builds on it holds on to its blobs."""
    there = select(jobs.c.id).where(jobs.c.id == source).with_for_update(read=True, key_share=True)
    if not is_job_id(source) or connection.scalar(there) is None:
        raise not_found(source)


def not_found(job: str) -> JobNotFoundError:
    return JobNotFoundError(f"there is no job {job[:40]!r}; it was never submitted, or it was deleted")
