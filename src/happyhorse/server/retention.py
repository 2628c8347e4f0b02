"""Deletes what is old: finished jobs by age and by the room that their clips take, then blobs nobody refers to.

A blob that was put a short while ago is left alone even if no job refers to it yet: its job may be on its way. The same
grace lets a running put finish. Unfinished jobs keep the blobs that they start from.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict

from sqlalchemy import Connection, delete, or_, select

from happyhorse.server.blobs import Blobs
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import FINISHED
from happyhorse.server.schema import blob_references, jobs

GRACE_SECONDS = 3600.0
_AT_ONCE = 200
"""Jobs deleted in one transaction, so that nobody waits long for the lock."""


@dataclasses.dataclass(frozen=True)
class Freed:
    """What is gone."""

    jobs: int
    blobs: int
    bytes: int
    """Of the blobs."""

    def __str__(self) -> str:
        return f"{self.jobs} jobs and {self.blobs} blobs deleted, {self.bytes / 1e6:.1f} MB free"


def expire(
    queue: Jobs,
    blobs: Blobs,
    older_than: float | None = None,
    larger_than: int | None = None,
    grace: float = GRACE_SECONDS,
) -> Freed:
    """Deletes finished jobs and the blobs that only they referred to; says what it freed.

    Jobs go if they have expired, if they finished more than ``older_than`` seconds ago, or, the oldest first, as long
    as the blobs that jobs refer to have more than ``larger_than`` bytes. Blobs put less than ``grace`` seconds ago stay
    for the next time, so that room may be freed later than its jobs are gone.
    """
    now = queue.clock()
    gone = _delete(queue, _outdated(queue, now, older_than))
    if larger_than is not None:
        gone += _delete(queue, _crowding(queue, blobs, larger_than))
    blobs.sweep(now - grace)
    count, size = _delete_unreferenced(queue, blobs, now - grace)
    return Freed(gone, count, size)


def _outdated(queue: Jobs, now: float, older_than: float | None) -> list[str]:
    outdated = jobs.c.expires_at <= now
    if older_than is not None:
        outdated = or_(outdated, jobs.c.completed_at < now - older_than)
    query = select(jobs.c.id).where(jobs.c.status.in_(FINISHED), outdated)
    with queue.database.read() as connection:
        return list(connection.scalars(query))


def _crowding(queue: Jobs, blobs: Blobs, larger_than: int) -> list[str]:
    """The oldest finished jobs without which the blobs that remain referred to have at most ``larger_than`` bytes."""
    sizes = {blob.hash: blob.bytes for blob in blobs.stored()}
    with queue.database.read() as connection:
        references = connection.execute(select(blob_references.c.job, blob_references.c.hash)).all()
        oldest = select(jobs.c.id).where(jobs.c.status.in_(FINISHED)).order_by(jobs.c.completed_at, jobs.c.id)
        finished = list(connection.scalars(oldest))
    named = defaultdict[str, list[str]](list)
    for job, name in references:
        named[job].append(name)
    users = Counter(name for _, name in references)
    kept = sum(sizes.get(name, 0) for name in users)
    crowding = list[str]()
    for job in finished:
        if kept <= larger_than:
            break
        users.subtract(named[job])
        freed = sum(sizes.get(name, 0) for name in named[job] if users[name] == 0)
        if named[job]:
            crowding.append(job)
            kept -= freed
    return crowding


def _delete(queue: Jobs, names: list[str]) -> int:
    """Deletes jobs that are finished (and so remain). Returns how many were still there."""
    deleted = 0
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        with queue.database.write() as connection:
            where = (jobs.c.id.in_(some), jobs.c.status.in_(FINISHED))
            deleted += connection.execute(delete(jobs).where(*where)).rowcount
    return deleted


def _delete_unreferenced(queue: Jobs, blobs: Blobs, before: float) -> tuple[int, int]:
    """Deletes blobs that no job names and that were put before a time. Returns how many, and their bytes."""
    count = size = 0
    for blob in list(blobs.stored()):
        if blob.modified > before:
            continue
        # Asked for every blob anew: a job may have been submitted since that refers to it.
        with queue.database.read() as connection:
            if _is_referenced(connection, blob.hash):
                continue
        if blobs.delete(blob.hash, before):
            count, size = count + 1, size + blob.bytes
    return count, size


def _is_referenced(connection: Connection, name: str) -> bool:
    return connection.execute(select(blob_references.c.job).where(blob_references.c.hash == name)).first() is not None
