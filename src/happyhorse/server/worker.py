"""A worker: a process with the models loaded that takes one job after the other.

``python -m happyhorse.server.worker --device cpu`` with the service's settings in HAPPYHORSE_SERVE_... variables; the
server starts one for each device, and more may run on other machines that share its database and store.

It says that it is alive from a thread of its own, so that a long step loses no lease, and notices in the same way that
its job was cancelled, that its lease is lost, or that it is to stop; the step that is running is the last one then.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from happyhorse.errors import HappyhorseError, OutputError
from happyhorse.server.blobs import Blobs
from happyhorse.server.errors import failure
from happyhorse.server.jobs import Jobs
from happyhorse.server.makers import ModelMaker, StubMaker
from happyhorse.server.making import Made, Maker, Media
from happyhorse.server.offers import Offer, Offers, PublicOffer
from happyhorse.server.orders import read_order
from happyhorse.server.presence import SEEN_EVERY, Presence
from happyhorse.server.progress import stages_of
from happyhorse.server.public_makers import Pipelines, PublicMaker, what_fits
from happyhorse.server.pulse import Interrupted, Pulse, Pulses
from happyhorse.server.records import Job, JobStoreError
from happyhorse.server.scratch import scratch_folder, sweep
from happyhorse.server.settings import Settings
from happyhorse.server.supervisor import stop_without

IDLE_SECONDS = 0.2
"""Between two looks for work."""
log = logging.getLogger("happyhorse.worker")


class Worker:
    """Takes jobs and hands in what the makers make of them."""

    def __init__(
        self,
        queue: Jobs,
        blobs: Blobs,
        makers: Mapping[str, Callable[[], Maker]],
        *,
        lease_seconds: float = 30.0,
        device: str = "cpu",
        batch: int = 1,
        name: str | None = None,
    ) -> None:
        """``makers``: how to load each model that is taken jobs of, by name; ``batch``: previews made at once."""
        self.name = name or f"{socket.gethostname()}:{os.getpid()}:{device}:{secrets.token_hex(3)}"[-255:]
        self.stopping = threading.Event()
        self._queue, self._blobs, self.device = queue, blobs, device
        self._makers, self._loaded = makers, dict[str, Maker]()
        self._lease, self._batch = lease_seconds, batch

    def stop(self) -> None:
        """The next step is the last one; the job is given back."""
        self.stopping.set()

    def run(self) -> None:
        """Works until it is stopped. Raises WeightsError if the first model cannot be loaded."""
        self.load(next(iter(self._makers)))
        with _saying(Presence(self._queue), self):
            while not self.stopping.is_set():
                if not self.work_once():
                    self.stopping.wait(IDLE_SECONDS)

    def work_once(self) -> bool:
        """Takes a job, or several that go together, and ends it, in whichever way. Returns whether there was one."""
        try:
            jobs = self._queue.claim_batch(self.name, list(self._makers), self._lease, self._batch)
        except JobStoreError as error:
            log.warning("no jobs to be had: %s", error)
            self.stopping.wait(1.0)
            return False
        if len(jobs) == 1:
            self._work(jobs[0])
        elif jobs:
            self._work_together(jobs)
        return bool(jobs)

    def load(self, model: str) -> Maker:
        """The maker of a model, which stays loaded."""
        if model not in self._loaded:
            began = time.perf_counter()
            self._loaded[model] = self._makers[model]()
            log.info("loaded %s on %s in %.1f s", model, self.device, time.perf_counter() - began)
        return self._loaded[model]

    def _work(self, job: Job) -> None:
        try:
            with self._pulse(job) as pulse:
                result = self._make(job, pulse)
        except Interrupted:
            self._end(job, self._let_go)
        except Exception as error:
            self._end(job, self._fail, error)
        else:
            self._end(job, self._complete, result)

    def _work_together(self, jobs: Sequence[Job]) -> None:
        with contextlib.ExitStack() as stack:
            pulses = [stack.enter_context(self._pulse(job)) for job in jobs]
            together = Pulses(pulses)
            try:
                results = self._make_together(jobs, together)
            except Interrupted:
                results = {}
            except Exception as error:
                # They come back one by one, so that only the one that cannot be made fails.
                for pulse in together.alive:
                    self._end(pulse.job, self._fail, error, True)
                results, together.alive = {}, []
        alive = {pulse.job.id for pulse in together.alive}
        for job in jobs:
            if job.id in alive and job.id in results:
                self._end(job, self._complete, results[job.id])
            else:
                self._end(job, self._let_go)

    def _pulse(self, job: Job) -> Pulse:
        return Pulse(self._queue, job, self.name, self._lease, self.stopping)

    def _end(self, job: Job, how: Callable[..., None], *facts: Any) -> None:
        """Says what became of a job."""
        try:
            how(job, *facts)
        except JobStoreError as error:
            log.warning("%s: what became of it could not be said, it will be taken up again: %s", job.id, error)

    def _make(self, job: Job, pulse: Pulse) -> dict[str, Any]:
        began = time.perf_counter()
        order, maker = read_order(job.kind, job.request), self.load(job.model)
        pulse.goes_through(stages_of(order))
        forget_peak()
        with scratch_folder() as folder:
            made = maker.make(order, Media(self._blobs, folder), pulse)
            facts = self._facts(time.perf_counter() - began)
            pulse.check()
            return {**store(self._blobs, made), **facts}

    def _make_together(self, jobs: Sequence[Job], pulses: Pulses) -> dict[str, dict[str, Any]]:
        """The results of jobs that differ in prompt and seed alone, by id."""
        began = time.perf_counter()
        orders = [read_order(job.kind, job.request) for job in jobs]
        for pulse, order in zip(list(pulses.alive), orders, strict=True):
            pulse.goes_through(stages_of(order))
        forget_peak()
        with scratch_folder() as folder:
            everything = self.load(jobs[0].model).make_together(orders, Media(self._blobs, folder), pulses)
            facts = self._facts((time.perf_counter() - began) / len(jobs))
            return {job.id: {**store(self._blobs, made), **facts} for job, made in zip(jobs, everything, strict=True)}

    def _facts(self, seconds: float) -> dict[str, float]:
        return {"inference_seconds": round(seconds, 3), "peak_memory_mb": peak_mib(self.device)}

    def _complete(self, job: Job, result: dict[str, Any]) -> None:
        """Tries again for as long as a lease lasts when the database does not answer: the work is done."""
        until = time.monotonic() + self._lease
        while True:
            try:
                counted = self._queue.complete(job, self.name, result)
                log.info("%s %s in %.1f s", job.id, "completed" if counted else "dropped", result["inference_seconds"])
                return
            except JobStoreError:
                if time.monotonic() > until or self.stopping.wait(1.0):
                    raise

    def _let_go(self, job: Job) -> None:
        if self._queue.cancelled(job, self.name):
            log.info("%s cancelled", job.id)
        elif self.stopping.is_set() and self._queue.release(job, self.name):
            log.info("%s given back", job.id)
        else:
            log.warning("%s is not ours any more", job.id)

    def _fail(self, job: Job, error: Exception, again: bool = False) -> None:
        expected = isinstance(error, HappyhorseError)
        log.log(logging.WARNING if expected else logging.ERROR, "%s failed: %s", job.id, error, exc_info=not expected)
        # A full disk or a store that does not answer may be better the next time; a prompt will not be.
        self._queue.fail(job, self.name, **failure(error), retry=again or isinstance(error, OutputError))


def store(blobs: Blobs, made: Made) -> dict[str, Any]:
    """Keeps what was made, and returns the job's result."""
    video = blobs.put_file(made.video, "video/mp4")
    latents = {"latents": blobs.put_bytes(made.latents, "application/octet-stream").hash} if made.latents else {}
    return {
        "video": video.hash,
        "bytes": video.bytes,
        "media_type": video.media_type,
        "thumbnail": blobs.put_bytes(made.thumbnail, "image/jpeg").hash,
        "spritesheet": blobs.put_bytes(made.sheet, "image/jpeg").hash,
        **latents,
        **made.facts,
    }


@contextlib.contextmanager
def _saying(presence: Presence, worker: Worker):
    """Says every few seconds that the worker is there, and at the end that it is not."""
    ended = threading.Event()

    def say() -> None:
        while True:
            with contextlib.suppress(JobStoreError):
                presence.say(worker.name, worker.device, os.getpid())
            if ended.wait(SEEN_EVERY):
                return

    thread = threading.Thread(target=say, name="presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(JobStoreError):
            presence.leave(worker.name)


def forget_peak() -> None:
    """Starts counting peak memory anew, where Linux lets it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mib(device: str) -> float:
    """MiB that this process had at most; on a GPU, that its tensors took there."""
    if device.startswith("cuda"):
        import torch

        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return round(peak / 2**20, 1)
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


# ---------------------------------------------------------------------------------------------------------- the process
def makers_of(offers: Offers, device: str, stub: bool) -> dict[str, Callable[[], Maker]]:
    """How to load each of the models."""
    if stub:
        return {offer.name: StubMaker for offer in offers}
    pipelines = functools.cache(lambda: Pipelines(device))
    return {offer.name: functools.partial(_maker, offer, device, pipelines) for offer in offers}


def _maker(offer: Offer, device: str, pipelines: Callable[[], Pipelines]) -> Maker:
    return PublicMaker(offer.name, pipelines()) if isinstance(offer, PublicOffer) else ModelMaker(offer.source, device)


def worker_of(settings: Settings, device: str) -> Worker:
    """The worker of a device, which opens the service's database and store.

    Raises ConfigError, WeightsError, MissingToolError or JobStoreError for what it cannot work with.
    """
    sweep()
    offers = Offers.load(settings.models)
    for offer in offers:
        if isinstance(offer, PublicOffer) and not settings.stub:
            log.info("%s", what_fits(offer, device))
    return Worker(
        Jobs(settings.database_url, keep_seconds=settings.keep_seconds),
        Blobs(settings.store_url),
        makers_of(offers, device, settings.stub),
        lease_seconds=settings.lease_seconds,
        device=device,
        batch=settings.batch_on(device),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m happyhorse.server.worker", description="Takes jobs of the service."
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parent", type=int, default=0, help="stop when this process is gone")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        worker = worker_of(Settings.read(), asked.device)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: worker.stop())
        if asked.parent:
            stop_without(asked.parent, worker.stop)
        worker.run()
    except HappyhorseError as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
