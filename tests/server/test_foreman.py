"""The foreman of a cluster that a test plays: who gets a worker where, when one ends, and when nodes come and go."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.errors import ConfigError
from happyhorse.server.foreman import Foreman, ray_environment
from happyhorse.server.places import Node, Place, elsewhere, places
from happyhorse.server.settings import Settings
from happyhorse.server.supervisor import RESTART_SECONDS, STEADY_SECONDS

HEAD, SMALL = Node("head", "10.0.0.1"), Node("small", "10.0.0.2", cpus=2)
LARGE = Node("large", "10.0.0.3", cpus=64, gpus=8)
SHARED = {"database": "postgresql://me:word@db/happyhorse", "store": "s3://clips"}


class Hand:
    """A worker that ends when a test says so, or when it is asked to unless it is ``deaf``."""

    def __init__(self, place: Place) -> None:
        self.place, self.how, self.deaf, self.killed = place, None, False, False

    def ended(self) -> str | None:
        return self.how

    def stop(self) -> None:
        self.how = self.how if self.deaf else "stopped"

    def kill(self) -> None:
        self.killed, self.how = True, "killed"


class Members:
    """A cluster of nodes that a test adds and removes."""

    home = HEAD.address

    def __init__(self, *nodes: Node) -> None:
        self.alive, self.started = [HEAD, *nodes], list[Hand]()

    def nodes(self) -> list[Node]:
        return self.alive

    def start(self, place: Place) -> Hand:
        self.started.append(Hand(place))
        return self.started[-1]

    @property
    def working(self) -> list[str]:
        """Ids of the nodes of running workers, in order of their start."""
        return [hand.place.node.id for hand in self.started if hand.how is None]


def foreman(members: Members, folder: Path, **settings: object) -> Foreman:
    return Foreman(members, Settings(folder=folder, engine="ray", **settings))  # type: ignore[arg-type]


def test_every_gpu_has_a_place_and_cpus_have_some_only_where_there_is_no_gpu() -> None:
    def found(*nodes: Node, workers: str = "auto", slots: int = 0) -> list[tuple[str, int, bool, int]]:
        return [(one.node.id, one.number, one.gpu, one.cpus) for one in places(nodes, (workers,), slots)]

    assert found(HEAD, SMALL, LARGE) == [("large", number, True, 8) for number in range(8)]
    assert found(HEAD, SMALL) == [("small", 0, False, 2)]
    assert found(HEAD, SMALL, workers="cuda") == []
    assert found(SMALL, LARGE, workers="cpu", slots=2) == [
        *[("small", number, False, 1) for number in range(2)],
        *[("large", number, False, 32) for number in range(2)],
    ]
    assert found(SMALL, slots=5) == [("small", number, False, 1) for number in range(2)]
    assert len(found(LARGE, slots=3)) == 3 and found(HEAD, slots=3) == []


def test_nodes_get_workers_as_they_come_and_lose_them_as_they_go(tmp_path: Path) -> None:
    members = Members(SMALL)
    boss = foreman(members, tmp_path, **SHARED)
    boss.look(0.0)
    boss.look(1.0)
    assert members.working == ["small"]
    members.alive.append(LARGE)
    boss.look(2.0)
    assert members.working == ["large"] * 8  # a slow worker does not stay beside GPUs
    members.alive.remove(LARGE)
    for hand in members.started:
        hand.how = hand.how or "its node died"
    boss.look(3.0)
    assert members.working == ["small"]


def test_a_worker_that_ends_is_started_again_after_growing_pauses(tmp_path: Path) -> None:
    members, now = Members(SMALL), 1000.0
    boss = foreman(members, tmp_path, **SHARED)
    boss.look(now)
    for pause in RESTART_SECONDS[1:]:
        members.started[-1].how = "out of memory"
        boss.look(now)
        boss.look(now + pause - 0.01)
        assert members.working == []
        now += pause
        boss.look(now)
        assert members.working == ["small"]
    members.started[-1].how = "out of memory"
    boss.look(now + STEADY_SECONDS + 1)
    assert members.working == ["small"]  # one that ran for long starts again at once


def test_what_only_one_machine_can_open_is_refused_on_several(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other machines \(10\.0\.0\.2\): the job database is SQLite.*postgresql://"):
        foreman(Members(SMALL), tmp_path).check()
    with pytest.raises(ConfigError, match="SQLite"):
        foreman(Members(SMALL), tmp_path, database="sqlite:////shared/jobs.db", store="/shared/clips").check()
    with pytest.raises(ConfigError, match=r"clips would be kept in .*blobs of each machine.*s3://"):
        foreman(Members(SMALL), tmp_path, database=SHARED["database"]).check()
    foreman(Members(SMALL), tmp_path, **SHARED).check()
    here = Node("here", HEAD.address, cpus=4)
    foreman(Members(here), tmp_path).check()
    assert elsewhere(places([here, SMALL]), HEAD.address) == [SMALL.address]


def test_a_machine_that_joins_later_and_cannot_take_part_gets_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = Members(Node("here", HEAD.address, cpus=4))
    boss = foreman(members, tmp_path)
    members.alive.append(SMALL)
    with caplog.at_level(logging.ERROR):
        boss.look(0.0)
        boss.look(1.0)
    assert members.working == ["here"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["no workers on 10.0.0.2"]  # said once


def test_stopping_waits_for_the_workers_and_ends_those_that_do_not_hear(tmp_path: Path) -> None:
    members = Members(SMALL)
    boss = foreman(members, tmp_path, slots=2, **SHARED)
    boss.look(0.0)
    good, bad = members.started
    bad.deaf = True
    boss.stop(0.05, pause=0.01)
    assert (good.how, good.killed, bad.how) == ("stopped", False, "killed")


def test_a_ray_of_our_own_is_closed_to_others_and_a_cluster_keeps_its_token(tmp_path: Path) -> None:
    here, there = Settings(folder=tmp_path, engine="ray"), Settings(folder=tmp_path, engine="ray", address="auto")
    own = [ray_environment(here, {"RAY_AUTH_TOKEN": "known"})["RAY_AUTH_TOKEN"] for _ in range(2)]
    assert len({"known", *own}) == 3 and len(own[0]) == 64
    assert ray_environment(there, {"RAY_DEDUP_LOGS": "1"}) == {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "1"}
