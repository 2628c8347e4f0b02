"""What a request would take, before it is made: from what this server's own clips have taken, else from rules of thumb.

Time is counted in units of work, rows of the model's sequence times passes, which the clips that were made turn into
seconds. Attention grows faster than its rows, but the sizes that one model makes are near each other.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from happyhorse.errors import ConfigError
from happyhorse.sampling.superres import Enlarging
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
PROCESS_MIB = 420.0
"""A worker's Python and torch."""
PIXEL_BYTES = 20.0
"""Of working memory for a pixel of a clip, while it is decoded and written."""
LOOP_SHARE = 1.4
"""A loop's end is made again."""
RENDER_STEPS = Enlarging().steps


@dataclasses.dataclass(frozen=True)
class Work:
    """Units of work: rows times passes, of the clip and of its render apart."""

    clip: float = 0.0
    render: float = 0.0

    def seconds(self, rates: Rates) -> float:
        return self.clip * rates.clip + self.render * rates.render


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds for a unit of work."""

    clip: float = UNIT_SECONDS
    render: float = UNIT_SECONDS
    measured: bool = False


def work(order: Order | RenderOrder) -> Work:
    """What a worker has to do for an order."""
    large = _shape(order.size, order.seconds).tokens
    if isinstance(order, RenderOrder):
        return Work(render=order.steps * large)
    guided = order.guidance != (1.0, 1.0)
    clip = order.steps * (2 if guided else 1) * order.request().shape.tokens
    if "start" in order.media:
        return Work(windows(order) * clip)
    return Work(clip * (LOOP_SHARE if order.loop else 1.0), RENDER_STEPS * large if order.rendered else 0.0)


def estimate(service: Service, offer: Offer, orders: Sequence[Order | RenderOrder]) -> dict[str, Any]:
    """Seconds, memory and what would be made: fields of ``views.Estimate``."""
    recent = [job for job in service.queue.page(limit=LOOKED_AT).jobs if job.model == offer.name]
    rates, first = rates_of(recent), orders[0]
    ahead = sum(work_of(job).seconds(rates) * (1 - job.progress / 100) for job in recent if not job.finished)
    return {
        "object": "video.estimate",
        "model": offer.name,
        "n": len(orders),
        "size": first.size,
        "seconds": seconds_text(first.seconds),
        "seed": first.seed,
        "num_inference_steps": first.steps,
        "inference_time_s": round(sum(work(order).seconds(rates) for order in orders), 1),
        "queue_time_s": round(ahead / max(1, len(service.presence.here())), 1),
        "peak_memory_mb": _memory(first, offer, recent),
        "measured": rates.measured,
        "notes": list(first.notes),
    }


def work_of(job: Job) -> Work:
    """Of a job; none for one of another version."""
    try:
        return work(read_order(job.kind, job.request))
    except ConfigError:
        return Work()


def rates_of(jobs: Sequence[Job]) -> Rates:
    """Medians over finished jobs that made only a clip, or only a render; one stands for the other where it must."""
    clips, renders = list[float](), list[float]()
    for job in jobs:
        units = work_of(job)
        if job.status != COMPLETED or not job.result or (units.clip and units.render):
            continue
        for done, rates in ((units.clip, clips), (units.render, renders)):
            if done:
                rates.append(job.result["inference_seconds"] / done)
    found = clips or renders
    if not found:
        return Rates()
    return Rates(statistics.median(clips or renders), statistics.median(renders or clips), measured=True)


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
