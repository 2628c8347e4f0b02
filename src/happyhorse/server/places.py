"""Where workers belong in a cluster: on every GPU, or where there are none on every node, in slots of its CPUs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from happyhorse.server.settings import Settings


@dataclasses.dataclass(frozen=True)
class Node:
    """A member of the cluster: a machine, a pod, or a part of either."""

    id: str
    address: str
    """Of its machine or pod: nodes with one address share a disk."""
    cpus: int = 0
    gpus: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where one worker runs."""

    node: Node
    number: int
    """Among the places of its node, from 0."""
    gpu: bool
    cpus: int
    """Threads that it may use; on a CPU they are its own, beside a GPU they are not reserved."""

    def __str__(self) -> str:
        return f"{'GPU' if self.gpu else 'CPU slot'} {self.number} of {self.node.address} ({self.node.id[:8]})"


def places(nodes: Iterable[Node], workers: Sequence[str] = ("auto",), slots: int = 0) -> list[Place]:
    """All places for workers. ``workers``: "cuda", "cpu", or "auto" for GPUs if any node has some, else CPUs.

    ``slots``: the most that a node gets; 0: all of its GPUs, or one on its CPUs. A node that offers Ray neither gets
    none, such as the one that a server runs on.
    """
    nodes = list(nodes)
    gpu = workers == ("cuda",) or (workers == ("auto",) and any(node.gpus for node in nodes))
    return [place for node in nodes for place in _places_of(node, gpu, slots)]


def _places_of(node: Node, gpu: bool, slots: int) -> list[Place]:
    count = min(node.gpus, slots or node.gpus) if gpu else min(node.cpus, slots or 1)
    return [Place(node, number, gpu, max(1, node.cpus // count)) for number in range(count)]


def not_shared(settings: Settings) -> str:
    """Why workers on other machines could not take part, and the way out; "" if they can."""
    if "://" not in settings.database or settings.database.startswith("sqlite"):
        return "the job database is SQLite, which only one machine can open: give --database postgresql://..."
    if not settings.store:
        return f"clips would be kept in {settings.store_url} of each machine: give --store s3://... or a shared folder"
    return ""


def elsewhere(found: Iterable[Place], home: str) -> list[str]:
    """The addresses of other machines among places."""
    return sorted({place.node.address for place in found} - {home})
