"""Which workers are there: each says so every few seconds, in a table beside the jobs."""

from __future__ import annotations

import dataclasses

from sqlalchemy import BigInteger, Column, Double, MetaData, String, Table, delete, select, text

from happyhorse.server.changes import ignoring_conflicts
from happyhorse.server.jobs import Jobs

SEEN_EVERY = 5.0
"""Seconds between two signs of life."""
GONE_AFTER = 60.0
"""Seconds after which a silent worker counts as gone."""
_FORGOTTEN_AFTER = 86_400.0
_METADATA = MetaData()
_LOCK = 0x776F726B

workers = Table(
    "workers",
    _METADATA,
    Column("name", String(255), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("seen_at", Double, nullable=False),
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A worker that was seen lately."""

    name: str
    device: str
    pid: int
    seen_at: float


class Presence:
    """The workers of one database."""

    def __init__(self, queue: Jobs) -> None:
        self._queue = queue
        with queue.database.write() as connection:
            if not queue.database.is_sqlite:  # two processes that make the table at once would fail
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            _METADATA.create_all(connection)

    def say(self, name: str, device: str, pid: int) -> None:
        """That a worker is alive."""
        now = self._queue.clock()
        values = {"device": device[:64], "pid": pid, "seen_at": now}
        with self._queue.database.write() as connection:
            there = workers.update().where(workers.c.name == name).values(values)
            if not connection.execute(there).rowcount:
                connection.execute(ignoring_conflicts(connection, workers).values(name=name, **values))
                connection.execute(delete(workers).where(workers.c.seen_at < now - _FORGOTTEN_AFTER))

    def leave(self, name: str) -> None:
        """That a worker has stopped."""
        with self._queue.database.write() as connection:
            connection.execute(delete(workers).where(workers.c.name == name))

    def here(self, within: float = GONE_AFTER) -> list[Seen]:
        """Those that were seen in the last seconds."""
        since = self._queue.clock() - within
        query = select(workers).where(workers.c.seen_at >= since).order_by(workers.c.name)
        with self._queue.database.read() as connection:
            return [Seen(**row._mapping) for row in connection.execute(query)]
