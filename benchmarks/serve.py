"""The service under load: how long a submission takes, whether everything is made, what listeners hear and memory does.

``python benchmarks/serve.py [--jobs 1000] [--clients 50] [--listeners 200] [--kills 20] [--model foal --jobs 50]``

A server with one worker runs in processes of its own; without --model the worker makes stub clips. Each client submits
once a second on average, at random moments, as people and programs do; listeners hear a job's events from before its
first step. Kills (SIGKILL) fall on the server or on the worker, by chance, while 200 further jobs are made.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2

from happyhorse.server.jobs import Jobs

PROGRAM = "from happyhorse.cli.serve import serve; serve()"
ASKED = {"prompt": "a red ball bounces on wood", "seconds": "2", "size": "128x128"}
KILLED_JOBS, KILLED_PROMPT = 200, "a red ball, takes 0.4 s"
HEARD_PROMPT = "a red ball, takes 0.1 s"
"""Of stub clips that are still to be made when their listeners come."""
THINK_SECONDS = 1.0


class Server:
    """``happyhorse serve`` at a port of its own."""

    def __init__(self, folder: Path, model: str | None) -> None:
        settings = {"folder": folder, "port": 0, "workers": "cpu", "lease_seconds": 3, "attempts": 100}
        settings |= {"stub": "no", "models": model} if model else {"stub": "yes"}
        own = {f"HAPPYHORSE_SERVE_{name.upper()}": str(value) for name, value in settings.items()}
        with (folder / "log.txt").open("a") as log:
            at = log.tell()
            self.process = subprocess.Popen([sys.executable, "-c", PROGRAM], env={**os.environ, **own}, stderr=log)
        while not (found := re.search(r"^http://\S+", (folder / "log.txt").read_text()[at:], re.MULTILINE)):
            assert self.process.poll() is None, (folder / "log.txt").read_text()[-2000:]
            time.sleep(0.1)
        self.address = found[0]

    @property
    def memory(self) -> float:
        """MiB of the server process."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    def end(self, how: int = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait()


@contextlib.contextmanager
def serving(folder: Path, model: str | None) -> Iterator[Server]:
    server = Server(folder, model)
    try:
        yield server
    finally:
        server.end()


@dataclasses.dataclass(frozen=True)
class Submitted:
    names: list[str]
    seconds: list[float]
    """That each submission took."""


async def submit(
    address: str, clients: int, jobs: int, think: float = THINK_SECONDS, prompt: str = ASKED["prompt"]
) -> Submitted:
    """Submits ``jobs`` from so many clients at once, each with a connection of its own."""
    numbers, found = iter(range(jobs)), Submitted([], [])

    async def client(rng: random.Random) -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as http:
            await http.get("/healthz")
            for number in numbers:
                await asyncio.sleep(rng.uniform(0, 2 * think))
                began = time.perf_counter()
                answer = await http.post("/v1/videos", json={**ASKED, "prompt": prompt, "seed": number})
                found.seconds.append(time.perf_counter() - began)
                found.names.append(answer.raise_for_status().json()["id"])

    await asyncio.gather(*(client(random.Random(number)) for number in range(clients)))
    return found


async def listen(address: str, names: Sequence[str]) -> list[float]:
    """Listens to each job until it is finished; seconds between each event and its being heard."""
    delays = list[float]()

    async def hear(http: httpx2.AsyncClient, name: str) -> None:
        async with http.stream("GET", f"/v1/videos/{name}/events") as answer:
            began = time.time()
            async for line in answer.aiter_lines():
                if line.startswith("data: ") and (event := json.loads(line[6:]))["time"] > began:
                    delays.append(time.time() - event["time"])

    limits = httpx2.Limits(max_connections=len(names) + 10)
    async with httpx2.AsyncClient(base_url=address, timeout=None, limits=limits) as http:
        await asyncio.gather(*(hear(http, name) for name in names))
    return delays


def wait(queue: Jobs) -> None:
    """Until nothing waits or is being made."""
    while (counts := queue.counts())["queued"] + counts["in_progress"]:
        time.sleep(0.2)


def load(arguments: argparse.Namespace, folder: Path) -> None:
    """Submissions, listeners and memory."""
    with serving(folder, arguments.model) as server:
        queue = Jobs(folder / "jobs.sqlite")
        asyncio.run(submit(server.address, 2, 10, 0.1))  # the worker is at work, and everything is warm
        begun, memory = time.monotonic(), server.memory
        found = asyncio.run(submit(server.address, arguments.clients, arguments.jobs))
        row("submissions", len(found.seconds), f"by {arguments.clients} clients")
        row("  until accepted", *milliseconds(found.seconds))
        wait(queue)
        row("completed", f"{queue.counts()['completed'] - 10} of {arguments.jobs}", f"{time.monotonic() - begun:.0f} s")
        names = listened_to(server.address, arguments)
        heard = asyncio.run(listen(server.address, names))
        row("listeners", len(names), f"{len(heard)} events")
        row("  until heard", *milliseconds(heard))
        row("memory of the server", f"{memory:.0f} -> {server.memory:.0f} MiB", "")
        queue.close()


def listened_to(address: str, arguments: argparse.Namespace) -> list[str]:
    """Jobs that have hardly begun, no more than were made before."""
    prompt, count = ASKED["prompt"] if arguments.model else HEARD_PROMPT, min(arguments.listeners, arguments.jobs)
    return asyncio.run(submit(address, arguments.clients, count, 0.0, prompt)).names


def kill(arguments: argparse.Namespace, folder: Path) -> None:
    """Jobs while the server and its worker are killed."""
    rng, server, kills = random.Random(arguments.seed), Server(folder, None), {"server": 0, "worker": 0}
    asyncio.run(submit(server.address, 10, KILLED_JOBS, 0.0, KILLED_PROMPT))
    queue = Jobs(folder / "jobs.sqlite")
    begun = time.monotonic()
    while queue.counts()["completed"] < KILLED_JOBS:
        time.sleep(rng.uniform(0.5, 1.5))
        running = queue.page(status="in_progress").jobs
        if sum(kills.values()) >= arguments.kills or not running:
            continue
        if rng.random() < 0.5:
            server.end(signal.SIGKILL)
            server, kills["server"] = Server(folder, None), kills["server"] + 1
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(running[0].worker.split(":")[1]), signal.SIGKILL)
                kills["worker"] += 1
    names = [job.id for page in _pages(queue) for job in page]
    twice = sum([event.kind for event in queue.events_after(name)].count("completed") > 1 for name in names)
    row("killed", f"{kills['server']} servers, {kills['worker']} workers", f"{time.monotonic() - begun:.0f} s")
    row("  completed, twice", f"{queue.counts()['completed']} of {KILLED_JOBS}, {twice}", "")
    queue.close()
    server.end()


def _pages(queue: Jobs) -> Iterator[tuple]:
    page = queue.page(limit=100)
    yield page.jobs
    while page.more:
        page = queue.page(limit=100, after=page.jobs[-1].id)
        yield page.jobs


def milliseconds(seconds: Sequence[float]) -> tuple[str, str]:
    """Median and 99th percentile."""
    ordered = sorted(seconds) or [float("nan")]
    return (
        f"median {1000 * ordered[len(ordered) // 2]:.1f} ms",
        f"p99 {1000 * ordered[int(0.99 * len(ordered))]:.1f} ms",
    )


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("jobs", 1000), ("clients", 50), ("listeners", 200), ("kills", 20), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--model", help="make real clips with this model")
    arguments = parser.parse_args()
    row("", "", "")
    row("---", "---", "---")
    with tempfile.TemporaryDirectory() as folder:
        load(arguments, Path(folder))
    if arguments.kills:
        with tempfile.TemporaryDirectory() as folder:
            kill(arguments, Path(folder))


if __name__ == "__main__":
    main()
