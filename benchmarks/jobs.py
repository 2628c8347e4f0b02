"""Kills workers at random while they make stub clips: is a job lost, or done twice? On SQLite and on PostgreSQL.

``python benchmarks/jobs.py [--jobs 200] [--workers 4] [--kills 20] [--seed 0]``

A stub clip is a few short sleeps with a heartbeat each, then a few bytes that are kept as a blob. Workers are processes
of their own. At random times one that holds a job is killed (SIGKILL) and a new one started. What happened is read
from the events.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from happyhorse.server.blobs import Blobs
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import STATUSES, Submission

POSTGRES = Path(__file__).parents[1] / "tests" / "server" / "postgres.py"
LEASE_SECONDS, STEPS, STEP_SECONDS, ATTEMPTS_MAX = 1.0, 5, 0.02, 100
COLUMNS = ("database", "jobs", "workers", "killed", "taken up again", "completed", "lost", "done twice", "seconds")


def main() -> None:
    arguments = _arguments()
    if arguments.worker:
        return work(*arguments.worker)
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    with tempfile.TemporaryDirectory() as folder:
        for name, url in _databases(Path(folder)):
            row = trial(url, str(Path(folder) / f"blobs-{name}"), arguments)
            print(f"| {' | '.join(map(str, (name, *row)))} |", flush=True)


def work(url: str, folder: str, name: str) -> None:
    """A worker: makes clips until it is killed."""
    jobs, blobs = Jobs(url), Blobs(folder)
    while True:
        job = jobs.claim(name, ["stub"], LEASE_SECONDS)
        if job is None:
            time.sleep(0.05)
            continue
        for step in range(STEPS):
            time.sleep(STEP_SECONDS)
            if not jobs.heartbeat(job, name, LEASE_SECONDS, 100 * (step + 1) / STEPS, "denoising"):
                break
        else:
            clip = blobs.put_bytes(f"clip of {job.id} by {name}".encode(), "video/mp4")
            jobs.complete(job, name, {"video": clip.hash})


def trial(url: str, folder: str, arguments: argparse.Namespace) -> tuple[int | str, ...]:
    """Submits the jobs, kills workers while they are made, and counts: a row of the table behind the database."""
    jobs, rng = Jobs(url), random.Random(arguments.seed)
    begin = time.monotonic()
    names = [
        jobs.submit(Submission("generate", "stub", {"seed": k}, attempts_max=ATTEMPTS_MAX)).id
        for k in range(arguments.jobs)
    ]
    workers = Workers(url, folder, arguments.workers)
    # Spread over the time that the work takes at best, so that the kills come while there is work.
    pause = arguments.jobs * STEPS * STEP_SECONDS / arguments.workers / max(arguments.kills, 1)
    kills = 0
    try:
        while (counts := jobs.counts())["queued"] + counts["in_progress"]:
            time.sleep(rng.uniform(0, 2 * pause))
            if kills < arguments.kills:
                kills += workers.kill(rng, {job.worker for job in jobs.page(status="in_progress").jobs})
    finally:
        workers.stop()
    seconds = time.monotonic() - begin
    again, twice = _again(jobs, names)
    assert sum(counts[status] for status in STATUSES) == len(names)
    lost = len(names) - counts["completed"] + _missing(jobs, Blobs(folder))
    jobs.close()
    return len(names), arguments.workers, kills, again, counts["completed"], lost, twice, f"{seconds:.1f}"


class Workers:
    """Worker processes, as many at any time."""

    def __init__(self, url: str, folder: str, count: int) -> None:
        self._place = (url, folder)
        self._numbers = itertools.count(1)
        self._running = dict(self._start() for _ in range(count))

    def kill(self, rng: random.Random, busy: set[str]) -> bool:
        """Kills one of the busy workers and starts another; whether one was busy."""
        chosen = sorted(busy & set(self._running))
        if not chosen:
            return False
        worker = self._running.pop(rng.choice(chosen))
        worker.kill()
        worker.wait()
        self._running |= [self._start()]
        return True

    def stop(self) -> None:
        for worker in self._running.values():
            worker.kill()
            worker.wait()

    def _start(self) -> tuple[str, subprocess.Popen]:
        name = f"worker-{next(self._numbers)}"
        return name, subprocess.Popen([sys.executable, __file__, "--worker", *self._place, name])


def _again(jobs: Jobs, names: list[str]) -> tuple[int, int]:
    """How often a job was taken from a worker that had vanished, and how many jobs were completed more than once."""
    kinds = [[event.kind for event in jobs.events_after(name)] for name in names]
    return sum(one.count("lost") for one in kinds), sum(one.count("completed") > 1 for one in kinds)


def _missing(jobs: Jobs, blobs: Blobs) -> int:
    """How many completed jobs have no clip."""
    missing, after = 0, None
    while True:
        page = jobs.page(after=after, limit=100, status="completed")
        missing += sum(not _kept(job.result, blobs) for job in page.jobs)
        if not page.more:
            return missing
        after = page.jobs[-1].id


def _kept(result: dict[str, Any] | None, blobs: Blobs) -> bool:
    return result is not None and blobs.exists(result["video"]) and blobs.intact(result["video"])


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite:///{folder}/jobs.db"
    module = _postgres()
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(module.postgres_server())
        except module.NoPostgres as reason:
            print(f"PostgreSQL is left out: {reason}")
            return
        yield "PostgreSQL", url


def _postgres() -> ModuleType:
    spec = importlib.util.spec_from_file_location("postgres_server", POSTGRES)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", nargs=3, metavar=("URL", "BLOBS", "NAME"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
