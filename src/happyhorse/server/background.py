"""What the server does beside answering: messages to webhooks, jobs of lost workers, and what is too old to keep."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Sequence

from happyhorse.server.metrics import Metrics
from happyhorse.server.outbox import Notice, Outbox
from happyhorse.server.records import JobStoreError
from happyhorse.server.retention import Freed, expire
from happyhorse.server.service import Service
from happyhorse.server.views import video
from happyhorse.server.webhooks import Backoff, Outcome, deliver

COURIERS = 4
"""Messages on their way at the same time, so that a slow receiver holds nobody up."""
SEND_EVERY, SETTLE_EVERY, EXPIRE_EVERY, MEASURE_EVERY = 1.0, 5.0, 600.0, 5.0
_MESSAGE_LEASE = 120.0
_REASON_MAX = 200
log = logging.getLogger("happyhorse.server")


class Every:
    """A thread that does something again and again; an error ends one turn, not the thread."""

    def __init__(self, seconds: float, name: str, work: Callable[[], object]) -> None:
        self._seconds, self._name, self._work = seconds, name, work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, wait: float = 5.0) -> None:
        """Ends after the running turn, which is waited for a while."""
        self._ended.set()
        self._thread.join(wait)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._work()
            except JobStoreError as error:
                log.warning("%s: %s", self._name, error)
            except Exception:
                log.exception("%s failed; it is tried again", self._name)
            self._ended.wait(self._seconds)


def background(service: Service, metrics: Metrics) -> Sequence[Every]:
    """Everything that a server does by itself, not started yet."""
    courier = Courier(service)
    return [
        *(Every(SEND_EVERY, f"courier {number}", courier.send_due) for number in range(COURIERS)),
        Every(SETTLE_EVERY, "jobs of lost workers", service.queue.settle_lost),
        Every(EXPIRE_EVERY, "retention", lambda: clear(service)),
        Every(MEASURE_EVERY, "measuring", lambda: metrics.note_finished(service.queue)),
    ]


class Courier:
    """Delivers the messages that are owed."""

    def __init__(self, service: Service, backoff: Backoff | None = None) -> None:
        self._service, self._outbox, self._backoff = service, Outbox(service.queue), backoff or Backoff()

    def send_due(self) -> int:
        """Sends all messages that are due now. Returns how many."""
        count = 0
        while notice := self._outbox.claim(_MESSAGE_LEASE):
            self._settle(notice, self._send(notice))
            count += 1
        return count

    def _send(self, notice: Notice) -> Outcome:
        webhook = notice.job.webhook
        assert webhook is not None
        policy = self._service.settings.delivering
        secret = self._service.webhook_secret(webhook.secret_id)
        return deliver(webhook.url, message(notice), secret, policy, message_id=notice.id)

    def _settle(self, notice: Notice, outcome: Outcome) -> None:
        pause = self._backoff.after(outcome, notice.attempt)
        reason = f"{outcome.state}: {outcome.reason}"[:_REASON_MAX]
        log.info("webhook of %s, attempt %d: %s", notice.job.id, notice.attempt, reason)
        if pause is None:
            self._outbox.close(notice, reason)
        else:
            self._outbox.retry(notice, pause, reason)


def message(notice: Notice) -> bytes:
    """What a webhook is told: the same bytes in every attempt."""
    job = notice.job
    facts = {
        "id": notice.id,
        "object": "event",
        "type": f"video.{notice.event}",
        "created_at": int(job.completed_at or job.created_at),
        "data": video(job),
    }
    return json.dumps(facts).encode()


def clear(service: Service) -> Freed:
    """Deletes what the settings let go."""
    settings = service.settings
    larger_than = None if settings.keep_gib is None else int(settings.keep_gib * 2**30)
    freed = expire(service.queue, service.blobs, settings.keep_seconds, larger_than)
    if freed.jobs or freed.blobs:
        log.info("retention: %s", freed)
    return freed
