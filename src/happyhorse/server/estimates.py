"""What a request would take, before it is made: from what this server's own clips have taken, else from rules of thumb.

Time is counted in units of work, rows of the model's sequence times passes, which the clips that were made turn into
seconds. Attention grows faster than its rows, but the sizes that one model makes are near each other.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from happyhorse.errors import ConfigError
from happyhorse.sampling.superres import Enlarging
from happyhorse.server.offers import Offer
from happyhorse.server.orders import Order, RenderOrder, read_order
from happyhorse.server.progress import windows
from happyhorse.server.records import COMPLETED, Job
from happyhorse.server.service import Service
from happyhorse.server.views import seconds_text

LOOKED_AT = 100
"""Jobs that are looked at, the newest."""
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

    clip: float
    render: float
    measured: bool = False


def work(order: Order | RenderOrder) -> Work:
    """What a worker has to do for an order."""
    large = order.large.tokens
    if isinstance(order, RenderOrder):
        return Work(render=order.steps * large)
    clip = order.steps * (2 if order.guided else 1) * order.shape.tokens
    if "start" in order.media:
        return Work(windows(order) * clip)
    return Work(clip * (LOOP_SHARE if order.loop else 1.0), RENDER_STEPS * large if order.rendered else 0.0)


def estimate(service: Service, offer: Offer, orders: Sequence[Order | RenderOrder]) -> dict[str, Any]:
    """Seconds, memory and what would be made: fields of ``views.Estimate``."""
    page = service.queue.page(limit=LOOKED_AT).jobs
    rates = {each.name: rates_of(_of(each, page), each.unit_seconds) for each in service.offers}
    own, first = rates[offer.name], orders[0]
    waiting = _waiting_seconds(page, rates, service.waiting())
    return {
        "object": "video.estimate",
        "model": offer.name,
        "n": len(orders),
        "size": first.size,
        "seconds": seconds_text(first.seconds),
        "seed": first.seed,
        "num_inference_steps": first.steps,
        "inference_time_s": round(sum(work(order).seconds(own) for order in orders), 1),
        "queue_time_s": round(waiting / max(1, len(service.presence.here())), 1),
        "peak_memory_mb": _memory(first, offer, _of(offer, page)),
        "measured": own.measured,
        "notes": list(first.notes),
    }


def _of(offer: Offer, jobs: Sequence[Job]) -> list[Job]:
    return [job for job in jobs if job.model == offer.name]


def _waiting_seconds(page: Sequence[Job], rates: Mapping[str, Rates], waiting: int) -> float:
    """The work that is not done yet; jobs of all models wait for the same workers."""
    open_jobs = [job for job in page if not job.finished and job.model in rates]
    found = sum(work_of(job).seconds(rates[job.model]) * (1 - job.progress / 100) for job in open_jobs)
    # Where all that were looked at wait, more do; they are taken to be like those.
    return found * max(1.0, waiting / LOOKED_AT) if len(open_jobs) == LOOKED_AT else found


def work_of(job: Job) -> Work:
    """Of a job; none for one of another version."""
    try:
        return work(read_order(job.kind, job.request))
    except ConfigError:
        return Work()


def rates_of(jobs: Sequence[Job], otherwise: float) -> Rates:
    """Medians over finished jobs that made only a clip, or only a render; one stands for the other where it must, and
    ``otherwise`` for both where there is none."""
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
        return Rates(otherwise, otherwise)
    return Rates(statistics.median(clips or renders), statistics.median(renders or clips), measured=True)


def _memory(order: Order | RenderOrder, offer: Offer, jobs: Sequence[Job]) -> float:
    """MiB: the most that clips of this size and length took here, else weights and pixels."""
    alike = [
        job.result["peak_memory_mb"]
        for job in jobs
        if job.result and job.request["size"] == order.size and job.result["seconds"] >= order.seconds
    ]
    pixels = order.large.frames * order.large.height * order.large.width
    return max(alike) if alike else round(PROCESS_MIB + (offer.memory_bytes + PIXEL_BYTES * pixels) / 2**20, 1)
