"""A Ray cluster as the foreman sees it, and the actor that a worker runs in on a node.

Ray reads its variables when it is imported: whoever imports this sets them before (``foreman``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from happyhorse.errors import ConfigError, HappyhorseError
from happyhorse.server.places import Node, Place
from happyhorse.server.settings import Settings

OBJECT_STORE_BYTES = 80 * 2**20
"""Of a Ray that is started here. Nothing goes through it: what workers read and write is in database and store."""
_CONNECT_SECONDS = 10.0


class RayCluster:
    """The cluster at the settings' address; without one, a Ray on this machine that ends with this process."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError if the cluster cannot be reached from here."""
        self._variables, self._actors = settings.environment(), ray.remote(Actor)
        _connect(settings.address)
        self._node = ray.get_runtime_context().get_node_id()
        self.home = next((node.address for node in self.nodes() if node.id == self._node), "")

    def close(self) -> None:
        """Ray ends every actor that is left, as it does when this process is killed."""
        ray.shutdown()

    def nodes(self) -> list[Node]:
        return [_node(facts) for facts in ray.nodes() if facts["Alive"]]

    def start(self, place: Place) -> RayHand:
        actor = self._actors.options(
            num_cpus=0 if place.gpu else place.cpus,
            num_gpus=1 if place.gpu else 0,
            max_concurrency=2,  # ``stop`` while ``run`` is running
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node.id, soft=False),
        )
        # The settings hold passwords: as an argument, unlike in a runtime environment, no page of Ray's shows them.
        return RayHand(actor.remote(self._variables, "cuda:0" if place.gpu else "cpu", place.cpus))


class RayHand:
    """An actor that works."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._ready, self._running = actor.ready.remote(), actor.run.remote()

    def ended(self) -> str | None:
        if not ray.wait([self._running], timeout=0)[0]:
            return None
        self.kill()  # an actor whose worker has ended would hold its GPU
        try:
            return ray.get(self._running)
        except RayTaskError as error:
            return str(error).strip().splitlines()[-1]
        except RayError as error:
            return " ".join(str(error).split())[:300]

    def stop(self) -> None:
        if ray.wait([self._ready], timeout=0)[0]:
            self._actor.stop.remote()
        else:  # it still waits for its place, and would hear nothing
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(RayError):
            ray.kill(self._actor)


class Actor:
    """A worker on a node of the cluster, in a process of its own there."""

    def __init__(self, variables: Mapping[str, str], device: str, threads: int) -> None:
        self._variables, self._device = variables, device
        self._worker, self._stopped = None, False
        # Before torch loads, as for every worker; Ray allows itself one thread only.
        os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": str(threads)}
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")

    def __repr__(self) -> str:
        """What Ray puts before each line of the log."""
        return f"worker on {self._device}"

    def ready(self) -> None:
        """Answers once the actor has its place."""

    def run(self) -> str:
        """Works until it is to stop. Returns how it ended; an error of ours is told in a line."""
        from happyhorse.server.worker import worker_of

        try:
            self._worker = worker_of(Settings.read(environment=self._variables), self._device)
            if self._stopped:
                self._worker.stop()
            self._worker.run()
        except HappyhorseError as error:
            return str(error)
        return "stopped"

    def stop(self) -> None:
        """The worker's next step is its last one."""
        self._stopped = True
        if self._worker:
            self._worker.stop()


def _connect(address: str) -> None:
    options: dict[str, Any] = {"logging_level": logging.WARNING}
    if address:
        _probe(address)
    else:
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    try:
        ray.init(address or "local", **options)
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise ConfigError(_why(address, str(error))) from error


def _why(address: str, said: str) -> str:
    reason = said.strip().split("\n")[0].rstrip(".: ")
    if not address:
        return f"Ray cannot be started on this machine ({reason}); its logs are in /tmp/ray/session_latest/logs"
    head = "HOST:PORT" if address == "auto" else address
    way_out = f"run ray start --address={head} here first, and set its RAY_AUTH_TOKEN if it has one"
    return f"the Ray cluster at {address} cannot be joined ({reason}); {way_out}"


def _probe(address: str) -> None:
    """Ray itself takes minutes to find out that nobody listens."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "HOST:PORT is needed"
        raise ConfigError(
            f"no Ray cluster answers at {address} ({reason}); see ray status, or start one: ray start --head"
        ) from error


def _node(facts: Mapping[str, Any]) -> Node:
    offered = facts["Resources"]
    return Node(facts["NodeID"], facts["NodeManagerAddress"], int(offered.get("CPU", 0)), int(offered.get("GPU", 0)))
