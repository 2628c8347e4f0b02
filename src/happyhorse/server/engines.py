"""The engines that run a server's workers: processes of this machine, or actors of a Ray cluster.

Both run the same worker (``worker``), which takes its jobs from the database; an engine only sees to it that there are
workers. So whatever becomes of an engine, no job is lost with it.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Protocol

from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.server.settings import Settings
from happyhorse.server.supervisor import Supervisor, worker_environment

FOREMAN = "happyhorse.server.foreman"
_CHECK_SECONDS = 120.0
_SHUTDOWN_SECONDS = 15.0
"""What Ray itself takes to stop after its workers have."""


class Engine(Protocol):
    """What runs the workers of a server."""

    @property
    def where(self) -> str:
        """Where they are, for people."""
        ...

    def start(self) -> None:
        """Starts them, and looks after them from then on."""
        ...

    def stop(self) -> None:
        """Stops them at their next step; their jobs are given back."""
        ...


def engine_of(settings: Settings) -> Engine:
    """The engine that the settings ask for.

    Raises MissingToolError without Ray where it is asked for, ConfigError if its cluster cannot be reached or used.
    """
    if settings.engine == "processes" or settings.workers == ("none",):
        return Supervisor(settings)
    return ray_engine(settings)


def ray_engine(settings: Settings) -> Supervisor:
    """Ray's driver, the foreman, in a process of its own. Errors as ``engine_of``.

    Ray ends a driver that has lost its cluster. The server goes on to answer, and starts drivers until the cluster is
    back.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingToolError("--engine ray needs ray: pip install 'happyhorse[ray]', or leave --engine out")
    if settings.address:
        _check(settings)
    name = f"Ray at {settings.address}" if settings.address else "Ray on this machine"
    patience = settings.stop_seconds + _SHUTDOWN_SECONDS
    return Supervisor(settings, (name,), program=lambda _: (FOREMAN,), stop_seconds=patience)


def _check(settings: Settings) -> None:
    """Has a foreman look at the cluster once, so that a wrong address is said before anything is served."""
    command, environment = [sys.executable, "-m", FOREMAN, "--check"], worker_environment(settings)
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"the Ray cluster at {settings.address} did not answer in {_CHECK_SECONDS:g} s; see ray status"
        ) from error
    if done.returncode:
        said = (done.stdout.strip() or done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ConfigError(said)
