"""The foreman: keeps a worker on every place of a Ray cluster, while its nodes come and go.

``python -m happyhorse.server.foreman`` with the service's settings in HAPPYHORSE_SERVE_... variables, which is what
``happyhorse serve --engine ray`` starts. What is asked of Ray is behind ``Cluster``: all of this can be tried without.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from happyhorse.errors import ConfigError, HappyhorseError
from happyhorse.server.places import Node, Place, elsewhere, not_shared, places
from happyhorse.server.settings import Settings
from happyhorse.server.supervisor import RESTART_SECONDS, STEADY_SECONDS, stop_without

LOOK_EVERY = 0.5
"""Seconds between two looks at nodes and workers."""
log = logging.getLogger("happyhorse.foreman")


class Hand(Protocol):
    """A worker that was started at a place."""

    def ended(self) -> str | None:
        """How it ended; None while it runs, or waits for its place."""
        ...

    def stop(self) -> None:
        """Asks it to stop at its next step."""
        ...

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        ...


class Cluster(Protocol):
    """What the foreman needs of a cluster."""

    @property
    def home(self) -> str:
        """The address of the machine that it is seen from."""
        ...

    def nodes(self) -> Sequence[Node]:
        """Those that are alive."""
        ...

    def start(self, place: Place) -> Hand:
        """Starts a worker."""
        ...


@dataclasses.dataclass
class Post:
    """A place that should have a worker."""

    hand: Hand | None = None
    begun_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    """Ends in a row."""


class Foreman:
    """Starts, restarts and stops the workers of a cluster. Times are seconds of a monotonic clock."""

    def __init__(self, cluster: Cluster, settings: Settings) -> None:
        self._cluster, self._settings = cluster, settings
        self._posts, self._leaving = dict[Place, Post](), list[Hand]()
        self._told = ""

    def check(self) -> None:
        """Raises ConfigError if there are places on other machines that could not reach the database or the clips."""
        others = elsewhere(self._places(), self._cluster.home)
        if others and (reason := not_shared(self._settings)):
            raise ConfigError(f"the Ray cluster has workers on other machines ({', '.join(others)}): {reason}")

    def run(self, stopping: threading.Event) -> None:
        """Looks after the workers until it is to stop, then stops them."""
        while not stopping.is_set():
            self.look(time.monotonic())
            stopping.wait(LOOK_EVERY)
        self.stop(self._settings.stop_seconds)

    def look(self, now: float) -> None:
        """Lets workers go whose place is gone, and starts those that are missing."""
        wanted = self._usable()
        for place in self._posts.keys() - wanted:
            log.info("no worker at %s any more", place)
            self._let_go(self._posts.pop(place))
        for place in wanted:
            self._look_after(place, self._posts.setdefault(place, Post(due_at=now)), now)
        self._leaving = [hand for hand in self._leaving if hand.ended() is None]

    def stop(self, seconds: float, pause: float = 0.1) -> None:
        """Asks all workers to stop, and ends those that have not after some time."""
        for post in self._posts.values():
            self._let_go(post)
        self._posts.clear()
        until = time.monotonic() + seconds
        while self._leaving and time.monotonic() < until:
            self._leaving = [hand for hand in self._leaving if hand.ended() is None]
            time.sleep(pause if self._leaving else 0.0)
        for hand in self._leaving:
            log.warning("a worker did not stop in %g s; its job will be taken up again", seconds)
            hand.kill()

    def _places(self) -> list[Place]:
        return places(self._cluster.nodes(), self._settings.workers, self._settings.slots)

    def _usable(self) -> list[Place]:
        """The places that can reach database and clips: a machine that joins later must not be a reason to end."""
        found, home = self._places(), self._cluster.home
        others = elsewhere(found, home) if not_shared(self._settings) else []
        told = f"no workers on {', '.join(others)}: {not_shared(self._settings)}" if others else ""
        if told and told != self._told:
            log.error("%s", told)
        self._told = told
        return [place for place in found if place.node.address not in others]

    def _let_go(self, post: Post) -> None:
        if post.hand is not None:
            post.hand.stop()
            self._leaving.append(post.hand)

    def _look_after(self, place: Place, post: Post, now: float) -> None:
        if post.hand is not None:
            how = post.hand.ended()
            if how is None:
                return
            post.failures = 0 if now - post.begun_at > STEADY_SECONDS else post.failures + 1
            wait = RESTART_SECONDS[min(post.failures, len(RESTART_SECONDS) - 1)]
            log.warning("the worker at %s ended (%s); another one starts in %g s", place, how, wait)
            post.hand, post.due_at = None, now + wait
        if now >= post.due_at:
            log.info("a worker starts at %s", place)
            post.hand, post.begun_at = self._cluster.start(place), now


# ---------------------------------------------------------------------------------------------------------- the process
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m happyhorse.server.foreman", description="Runs the workers of the service on Ray."
    )
    parser.add_argument("--check", action="store_true", help="only look whether the cluster can be used")
    parser.add_argument("--parent", type=int, default=0, help="stop when this process is gone")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stopping = threading.Event()
    if asked.parent:
        stop_without(asked.parent, stopping.set)
    try:
        _work(Settings.read(), asked.check, stopping)
    except HappyhorseError as error:
        if asked.check:
            print(error, flush=True)
        else:
            log.error("%s", error)
        return 2
    return 0


def _work(settings: Settings, only_check: bool, stopping: threading.Event) -> None:
    os.environ.update(ray_environment(settings, os.environ))  # before Ray is imported, which reads it then
    from happyhorse.server.ray_cluster import RayCluster

    with contextlib.closing(RayCluster(settings)) as cluster:
        _on_signals(stopping.set)  # Ray sets its own when it connects
        foreman = Foreman(cluster, settings)
        foreman.check()
        if not only_check:
            foreman.run(stopping)


def ray_environment(settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """Variables for Ray: nothing is reported to its makers, and every line of the workers' logs is shown.

    A Ray of our own listens beyond loopback: with a token of its own nobody else gets in, and none is kept in the
    user's home.
    """
    ours = {name: given.get(name, "0") for name in ("RAY_USAGE_STATS_ENABLED", "RAY_DEDUP_LOGS")}
    if settings.address:
        return ours
    return {**ours, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


if __name__ == "__main__":
    sys.exit(main())
