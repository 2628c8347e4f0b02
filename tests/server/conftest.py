"""What tests of the service share: jobs in both databases over real connections, a clock set by hand, processes."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest

from happyhorse.server.jobs import Jobs
from happyhorse.server.records import Submission

_SCHEMAS = itertools.count()


def load_postgres() -> ModuleType:
    spec = importlib.util.spec_from_file_location("postgres_server", Path(__file__).parent / "postgres.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a private PostgreSQL that runs for the session; skips, with the reason, if there can be none."""
    module = load_postgres()
    terminal: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    with contextlib.ExitStack() as stack:
        try:
            with terminal.global_and_fixture_disabled():  # an installation is announced
                url = stack.enter_context(module.postgres_server())
        except module.NoPostgres as reason:
            pytest.skip(str(reason))
        yield url


# The first test waits while PostgreSQL is installed.
@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.timeout(600))])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_SCHEMAS)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
    return f"{server}?options=-csearch_path%3D{name}"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1_000_000.0):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(database_url: str, clock: Clock) -> Iterator[Jobs]:
    opened = Jobs(database_url, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def submission() -> Callable[..., Submission]:
    """Makes a submission, complete but for what a test cares about; all other names are fields of its request."""
    fields = set(Submission.__dataclass_fields__) - {"request"}

    def make(**values: Any) -> Submission:
        request = {"prompt": "a red ball", "size": "256x256", "seconds": 2, "steps": 8, "seed": 7}
        request |= {name: value for name, value in values.items() if name not in fields}
        given = {name: value for name, value in values.items() if name in fields}
        return Submission(**{"kind": "generate", "model": "foal", **given}, request=request)

    return make


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen]]:
    """Runs code in a process of its own, with arguments as sys.argv[1:]; none outlives the test."""
    started = list[subprocess.Popen]()

    def start(code: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for child in started:
        child.kill()
        child.communicate()
