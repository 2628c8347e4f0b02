"""The real server on a real Ray cluster of two nodes, one of which is killed: every job is made, and made once."""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("ray")

from happyhorse.errors import ConfigError
from happyhorse.server.jobs import Jobs
from happyhorse.server.presence import Presence
from happyhorse.server.settings import Settings

PROGRAM = "from happyhorse.cli.serve import serve; serve()"
JOBS = 3
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
QUICKLY = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}

# Twenty processes load Python anew, beside whatever else the machine does; on an idle one this takes a minute at most.
pytestmark = pytest.mark.timeout(600)


def patiently(start: Callable[[], Any], tries: int = 3) -> Any:
    """Ray gives a node 30 s to start, which is not enough everywhere; skips where it never is."""
    for _ in range(tries):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
    pytest.skip(f"Ray could not start a node on this machine, which may be too busy: {tries} times 30 s were too short")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each; nothing of them is left, neither processes nor files."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # otherwise one would be kept in the user's home
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    on_term = signal.getsignal(signal.SIGTERM)  # every node sets its own
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)  # what it says of its address would take the place of another Ray's
        started = patiently(lambda: Cluster(True, head_node_args={**NODE, "_system_config": QUICKLY}))
        try:
            patiently(lambda: started.add_node(**NODE))
            yield started
        finally:
            started.shutdown()
            signal.signal(signal.SIGTERM, on_term)


@pytest.fixture
def queue(postgres: str) -> Iterator[Jobs]:
    opened = Jobs(postgres)
    yield opened
    opened.close()


class Server:
    """``happyhorse serve --engine ray`` in a process of its own."""

    def __init__(self, folder: Path, **settings: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        # On a busy machine a worker may seem lost that is not: a job is given more attempts than usual.
        stub = {"stub": True, "lease_seconds": 3, "attempts": 9}
        own = {"folder": folder, "port": self.port, "engine": "ray", **stub, **settings}
        variables = {f"HAPPYHORSE_SERVE_{name.upper()}": str(value) for name, value in own.items()}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
        self.process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment)

    def submit(self, **asked: object) -> list[str]:
        """The ids of the jobs."""
        answer = httpx2.post(f"http://127.0.0.1:{self.port}/v1/videos", json=asked, timeout=60)
        first = answer.raise_for_status().json()
        return [job["id"] for job in first.get("data", [first])]


@pytest.fixture
def server(cluster: Any, queue: Jobs, tmp_path: Path) -> Iterator[Server]:
    url = queue.database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    started = Server(tmp_path, address=cluster.address, database=url, store=tmp_path / "clips")
    yield started
    started.process.kill()
    started.process.wait()


def wait_until(true: Callable[[], object], seconds: float = 120.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def parent(pid: int) -> int:
    """0 if there is no such process."""
    try:
        return int(re.sub(r".*\) ", "", Path(f"/proc/{pid}/stat").read_text()).split()[1])
    except OSError:
        return 0


def runs_on(pid: int, node: Any) -> bool:
    """Whether a process is one of a node's workers."""
    (raylet,) = node.all_processes["raylet"]
    while pid > 1:
        if pid == raylet.process.pid:
            return True
        pid = parent(pid)
    return False


def test_a_node_that_dies_loses_no_job(cluster: Any, queue: Jobs, server: Server) -> None:
    (victim,) = cluster.worker_nodes
    presence = Presence(queue)
    wait_until(lambda: server.process.poll() is not None or len(presence.here()) >= 2)
    names = server.submit(prompt="a ball, takes 2 s", n=JOBS)

    def at_work() -> list[int]:
        return [int((job.worker or "::").split(":")[1]) for job in queue.page(status="in_progress").jobs]

    wait_until(lambda: any(runs_on(pid, victim) for pid in at_work()))
    lost = {worker.pid for worker in presence.here() if runs_on(worker.pid, victim)}
    cluster.remove_node(victim, allow_graceful=False)
    wait_until(lambda: all(queue.get(name).finished for name in names))
    told = [[event.kind for event in queue.events_after(name)] for name in names]
    assert all(kinds.count("completed") == 1 and kinds[-1] == "completed" for kinds in told), told
    assert any("lost" in kinds for kinds in told), told

    joined = patiently(lambda: cluster.add_node(**NODE))
    wait_until(lambda: any(runs_on(worker.pid, joined) for worker in presence.here()))
    (slow,) = server.submit(prompt="a ball, takes 30 s")
    wait_until(at_work)
    workers = {worker.pid for worker in presence.here()} - lost
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(120) == 0
    assert queue.get(slow).status == "queued"
    assert {worker.pid for worker in presence.here()} <= lost  # who dies says nothing; the others took their leave
    wait_until(lambda: not any(parent(pid) for pid in workers), 30)


def test_a_cluster_that_is_not_there_is_said() -> None:
    from happyhorse.server.ray_cluster import RayCluster

    for address, why in (("127.0.0.1:1", "refused"), ("127.0.0.1", "HOST:PORT"), ("host:port", "HOST:PORT")):
        with pytest.raises(ConfigError, match=rf"no Ray cluster answers at {address} .*{why}.*ray start"):
            RayCluster(Settings(engine="ray", address=address))


def test_a_look_at_a_cluster_that_is_not_there_ends_with_one_line(tmp_path: Path) -> None:
    asked = {"FOLDER": str(tmp_path), "ENGINE": "ray", "ADDRESS": "127.0.0.1:1"}
    environment = {**os.environ, **{f"HAPPYHORSE_SERVE_{name}": value for name, value in asked.items()}}
    command = [sys.executable, "-m", "happyhorse.server.foreman", "--check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout.startswith("no Ray cluster answers at 127.0.0.1:1 ")
    assert len(done.stdout.splitlines()) == 1 and "Traceback" not in done.stderr
