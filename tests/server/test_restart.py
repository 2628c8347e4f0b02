"""The real server with a real worker, killed in the middle: every job is made, and made once."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("fastapi")

from happyhorse.server.jobs import Jobs

JOBS = 8
PROGRAM = "from happyhorse.cli.serve import serve; serve()"

pytestmark = pytest.mark.timeout(600)  # each process loads torch anew, beside whatever else the machine does


class Server:
    """``happyhorse serve`` in a process of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        own = {"folder": folder, "port": 0, "stub": True, "workers": "cpu", "lease_seconds": 3, **settings}
        variables = {f"HAPPYHORSE_SERVE_{name.upper()}": str(value) for name, value in own.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        lines = iter(self.process.stderr.readline, "")
        address = next(found[0] for line in lines if (found := re.match(r"http://\S+", line)))
        self.client = httpx2.Client(base_url=address, timeout=60)

    def end(self, how: int) -> int:
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started = list[Server]()

    def start(**settings: object) -> Server:
        started.append(Server(tmp_path, **settings))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Jobs]:
    opened = Jobs(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


def wait_until(true: Callable[[], object], seconds: float = 200.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_jobs_survive_their_worker_and_their_server(server: Callable[..., Server], queue: Jobs) -> None:
    first = server()
    asked = {"prompt": "a ball, takes 1 s", "seed": 7}
    names = [
        first.client.post("/v1/videos", json=asked, headers={"Idempotency-Key": str(number)}).json()["id"]
        for number in range(JOBS)
    ]

    def done() -> int:
        return queue.counts()["completed"]

    def at_work() -> int:
        """The process that makes a job now; 0 if none does."""
        return next((int(job.worker.split(":")[1]) for job in queue.page(status="in_progress").jobs), 0)

    wait_until(lambda: done() >= 1 and at_work())
    lost = at_work()
    os.kill(lost, signal.SIGKILL)
    wait_until(lambda: at_work() not in (0, lost))
    orphan = at_work()
    first.end(signal.SIGKILL)

    second = server()
    again = second.client.post("/v1/videos", json=asked, headers={"Idempotency-Key": "3"}).json()
    assert again["id"] == names[3]
    wait_until(lambda: done() == JOBS)
    for name in names:
        kinds = [event.kind for event in queue.events_after(name)]
        assert kinds.count("completed") == 1 and kinds[-1] == "completed", kinds
        assert second.client.get(f"/v1/videos/{name}/content").headers["content-type"] == "video/mp4"
    assert sum("lost" in [event.kind for event in queue.events_after(name)] for name in names) >= 1
    wait_until(lambda: not is_running(orphan))

    slow = second.client.post("/v1/videos", json={"prompt": "a ball, takes 10 s"}).json()["id"]
    wait_until(at_work)
    worker = at_work()
    second.end(signal.SIGTERM)
    assert not is_running(worker) and queue.get(slow).status == "queued"
