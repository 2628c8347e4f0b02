"""/metrics: what Prometheus is told of the queue, the workers and the requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import select

from happyhorse.server.jobs import Jobs
from happyhorse.server.outbox import Outbox
from happyhorse.server.presence import Presence
from happyhorse.server.records import COMPLETED
from happyhorse.server.schema import jobs

REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
STAGE_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0)
_AT_ONCE = 1000


class Metrics:
    """The numbers of one server process."""

    def __init__(self, queue: Jobs, presence: Presence, listeners: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Now(queue, presence, listeners))
        self._requests = Counter(
            "happyhorse_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "happyhorse_request_seconds",
            "Seconds until an answer.",
            ("route",),
            buckets=REQUEST_BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "happyhorse_stage_seconds",
            "Seconds in each stage of finished jobs.",
            ("model", "kind", "stage"),
            buckets=STAGE_BUCKETS,
            registry=self._registry,
        )
        self._since, self._lock = queue.clock(), threading.Lock()

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """That a request was answered."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def note_finished(self, queue: Jobs) -> None:
        """Counts the stages of jobs that were completed since the last time."""
        columns = (jobs.c.model, jobs.c.kind, jobs.c.completed_at, jobs.c.result)
        with self._lock:
            new = select(*columns).where(jobs.c.status == COMPLETED, jobs.c.completed_at > self._since)
            with queue.database.read() as connection:
                rows = connection.execute(new.order_by(jobs.c.completed_at).limit(_AT_ONCE)).all()
            for model, kind, completed_at, result in rows:
                self._since = completed_at
                for stage, seconds in (result.get("timings") or {}).items():
                    self._stages.labels(model, kind, stage).observe(seconds)

    def text(self) -> bytes:
        """The page, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is asked of the database when the page is."""

    def __init__(self, queue: Jobs, presence: Presence, listeners: Callable[[], int]) -> None:
        self._queue, self._presence, self._listeners = queue, presence, listeners
        self._outbox = Outbox(queue)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        found = GaugeMetricFamily("happyhorse_jobs", "Jobs by status.", labels=["status"])
        for status, count in self._queue.counts().items():
            found.add_metric([status], count)
        yield found
        yield _gauge("oldest_waiting_seconds", "Age of the oldest waiting job.", self._queue.oldest_waiting())
        yield _gauge("workers", "Workers seen in the last minute.", len(self._presence.here()))
        yield _gauge("listeners", "Open event streams.", self._listeners())
        yield _gauge("webhooks_owed", "Messages to webhooks that are not delivered yet.", self._outbox.owed())


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"happyhorse_{name}", text, value)
