"""What a request would take, before it is made: from what this server's own clips have taken, else from rules of thumb.

Time is counted in units of work, rows of the model's sequence times passes, which the clips that were made turn into
seconds. Attention grows faster than its rows, but the sizes that one model makes are near each other.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from happyhorse.errors import ConfigError
from happyhorse.server.offers import Offer
from happyhorse.server.orders import Order, RenderOrder, read_order
from happyhorse.server.progress import windows
from happyhorse.server.records import COMPLETED, Job
from happyhorse.server.service import Service
from happyhorse.server.views import seconds_text
from happyhorse.types import ClipShape

LOOKED_AT = 100
"""Jobs that are looked at, the newest."""
UNIT_SECONDS = 3.0 / (8 * 617)
"""A clip of the foal, 5 s at 128x128 in 8 steps, takes about 3 s on two cores."""
PROCESS_MIB = 600.0
"""A worker's Python and torch."""
PIXEL_BYTES = 60.0
"""Of working memory for a pixel of a clip, while it is decoded."""


def work(order: Order | RenderOrder) -> float:
    """Units of work: rows times passes."""
    large = _shape(order.size, order.seconds)
    if isinstance(order, RenderOrder):
        return order.steps * large.tokens
    guided = order.guidance != (1.0, 1.0)
    clip = order.steps * (2 if guided else 1) * order.request().shape.tokens
    if "start" in order.media:
        return windows(order) * clip
    return clip * (1.4 if order.loop else 1.0) + (5 * large.tokens if order.rendered else 0)


def estimate(service: Service, offer: Offer, orders: Sequence[Order | RenderOrder]) -> dict[str, Any]:
    """Seconds, memory and what would be made: fields of ``views.Estimate``."""
    recent = [job for job in service.queue.page(limit=LOOKED_AT).jobs if job.model == offer.name]
    rate = _rate(recent)
    first, unit = orders[0], UNIT_SECONDS if rate is None else rate
    waiting = [job for job in recent if not job.finished]
    ahead = unit * sum(work_of(job) * (1 - job.progress / 100) for job in waiting)
    return {
        "object": "video.estimate",
        "model": offer.name,
        "n": len(orders),
        "size": first.size,
        "seconds": seconds_text(first.seconds),
        "seed": first.seed,
        "num_inference_steps": first.steps,
        "inference_time_s": round(unit * sum(map(work, orders)), 1),
        "queue_time_s": round(ahead / max(1, len(service.presence.here())), 1),
        "peak_memory_mb": _memory(first, offer, recent),
        "measured": rate is not None,
        "notes": list(first.notes),
    }


def work_of(job: Job) -> float:
    """Units of work of a job; 0 for one of another version."""
    try:
        return work(read_order(job.kind, job.request))
    except ConfigError:
        return 0.0


def _rate(jobs: Sequence[Job]) -> float | None:
    """Seconds for a unit of work, the median of finished jobs; None if there are none."""
    done = [(job, work_of(job)) for job in jobs if job.status == COMPLETED and job.result]
    rates = [job.result["inference_seconds"] / units for job, units in done if units and job.result]
    return statistics.median(rates) if rates else None


def _memory(order: Order | RenderOrder, offer: Offer, jobs: Sequence[Job]) -> float:
    """MiB: the most that clips of this size and length took here, else weights and pixels."""
    alike = [
        job.result["peak_memory_mb"]
        for job in jobs
        if job.result and job.request["size"] == order.size and job.result["seconds"] >= order.seconds
    ]
    shape = _shape(order.size, order.seconds)
    pixels = shape.frames * shape.height * shape.width
    return max(alike) if alike else round(PROCESS_MIB + (2 * offer.weight_bytes + PIXEL_BYTES * pixels) / 2**20, 1)


def _shape(size: str, seconds: float) -> ClipShape:
    width, height = map(int, size.split("x"))
    return ClipShape(seconds, height, width)
