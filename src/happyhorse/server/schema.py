"""The tables, named so that they may share a database with others.

What a change may do to them is in ``changes``; a new version needs a step in ``database``.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

VERSION = 1
"""Grows when the tables change."""
METADATA = MetaData()


class Real(TypeDecorator):
    """A floating-point number; SQLite returns whole ones as integers from the statement that wrote them."""

    impl = Double
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> float | None:
        return None if value is None else float(value)


# Ids are compared as cursors, so that their order must be that of their bytes whatever the database's language.
_ID = String(30).with_variant(String(30, collation="C"), "postgresql")
_JSON = JSON(none_as_null=True)
_SERIAL = BigInteger().with_variant(Integer, "sqlite")


def _job() -> Column:
    return Column("job", _ID, ForeignKey("happyhorse_jobs.id", ondelete="CASCADE"), nullable=False)


schema_version = Table("happyhorse_schema_version", METADATA, Column("version", Integer, nullable=False))

jobs = Table(
    "happyhorse_jobs",
    METADATA,
    Column("id", _ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", String(64), nullable=False),
    Column("model", String(128), nullable=False),
    Column("request", _JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("progress", Real, nullable=False),
    Column("stage", String(64), nullable=False),
    Column("created_at", Real, nullable=False),
    Column("started_at", Real),
    Column("completed_at", Real),
    Column("expires_at", Real),
    Column("attempts", Integer, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("worker", String(255), nullable=False),
    Column("lease_until", Real),
    Column("cancel_requested", Boolean, nullable=False),
    Column("error", _JSON),
    Column("result", _JSON),
    Column("remixed_from", _ID),
    Column("idempotency_key", String(255)),
    Column("webhook", _JSON),
    Column("group", String(64)),
    Column("dialect", String(32), nullable=False),
    # The columns below serve the queue and are not part of the record.
    Column("fingerprint", String(128), nullable=False),
    Column("batch", String(64), nullable=False),
    Column("sequence", Integer, nullable=False),
    UniqueConstraint("owner", "idempotency_key"),
    Index("happyhorse_jobs_by_status", "status", "id"),
    Index("happyhorse_jobs_by_lease", "status", "lease_until"),
    Index("happyhorse_jobs_by_end", "status", "completed_at"),
    Index("happyhorse_jobs_by_owner", "owner", "id"),
    Index("happyhorse_jobs_by_group", "group"),
)

events = Table(
    "happyhorse_events",
    METADATA,
    _job(),
    Column("sequence", Integer, nullable=False),
    Column("time", Real, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("data", _JSON, nullable=False),
)
Index("happyhorse_events_in_order", events.c.job, events.c.sequence, unique=True)

blob_references = Table("happyhorse_blob_references", METADATA, _job(), Column("hash", String(64), nullable=False))
Index("happyhorse_references_by_hash", blob_references.c.hash, blob_references.c.job, unique=True)
Index("happyhorse_references_by_job", blob_references.c.job)

outbox = Table(
    "happyhorse_outbox",
    METADATA,
    Column("id", _SERIAL, primary_key=True),
    _job(),
    Column("event", String(32), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Real),
    Column("outcome", Text, nullable=False),
    Index("happyhorse_outbox_by_job", "job"),
    Index("happyhorse_outbox_by_due", "due_at"),
    sqlite_autoincrement=True,
)
"""Messages to webhooks; ``due_at`` is empty once there is nothing left to do."""
