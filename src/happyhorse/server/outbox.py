"""Messages that are owed to webhooks: written in the transaction that ends a job, kept until they are delivered.

A message may be delivered twice if its sender is killed between the delivery and the note of it; its id stays the same,
so that receivers can tell. What is in it and how it is signed is not known here.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import func, select, update

from happyhorse.server.changes import read_job
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import Job
from happyhorse.server.schema import jobs, outbox


@dataclasses.dataclass(frozen=True)
class Notice:
    """A message to send now."""

    number: int
    event: str
    """completed, failed or cancelled."""
    attempt: int
    """1 for the first."""
    job: Job
    """With the webhook in it."""

    @property
    def id(self) -> str:
        """The same in every attempt."""
        return f"msg_{self.job.id.removeprefix('video_')}_{self.event}"


class Outbox:
    """The messages of one database; any number of senders may share them."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    def claim(self, lease_seconds: float) -> Notice | None:
        """The message that is due for the longest time; another sender gets it only after ``lease_seconds``."""
        due = select(outbox).where(outbox.c.due_at <= self._jobs.clock()).order_by(outbox.c.due_at).limit(1)
        with self._jobs.database.read() as connection:
            if connection.execute(due).first() is None:
                return None
        with self._jobs.database.write() as connection:
            row = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            again = {"due_at": self._jobs.clock() + lease_seconds, "attempts": row.attempts + 1}
            connection.execute(update(outbox).where(outbox.c.id == row.id).values(again))
            job = connection.execute(select(jobs).where(jobs.c.id == row.job)).one()
            return Notice(row.id, row.event, row.attempts + 1, read_job(job))

    def close(self, notice: Notice, outcome: str) -> bool:
        """Nothing more to do: delivered, or given up. Returns False if another sender has it by now."""
        return self._note(notice, None, outcome)

    def retry(self, notice: Notice, seconds: float, outcome: str) -> bool:
        """To be tried again in ``seconds``. Returns False if another sender has it by now."""
        return self._note(notice, self._jobs.clock() + seconds, outcome)

    def owed(self) -> int:
        """How many messages are not delivered yet."""
        with self._jobs.database.read() as connection:
            return connection.scalar(select(func.count()).where(outbox.c.due_at.is_not(None))) or 0

    def outcome(self, job: str) -> str:
        """What came of the latest attempt for a job; "" if there was none."""
        query = select(outbox.c.outcome).where(outbox.c.job == job).order_by(outbox.c.id.desc()).limit(1)
        with self._jobs.database.read() as connection:
            return connection.scalar(query) or ""

    def _note(self, notice: Notice, due_at: float | None, outcome: str) -> bool:
        mine = (outbox.c.id == notice.number, outbox.c.attempts == notice.attempt, outbox.c.due_at.is_not(None))
        with self._jobs.database.write() as connection:
            note = update(outbox).where(*mine).values(due_at=due_at, outcome=outcome)
            return connection.execute(note).rowcount == 1
