"""Opens the database and hands out transactions: SQLite for one machine, PostgreSQL for many.

SQLite writes in WAL mode, waits for other processes, and syncs every commit that must last to the disk. A writing
transaction takes the write lock when it begins, so that what it reads cannot change before it writes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, make_url, select, text
from sqlalchemy import exc as database_errors

from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.files import make_folder
from happyhorse.server.commits import SharedCommits
from happyhorse.server.records import JobStoreError
from happyhorse.server.schema import METADATA, VERSION, schema_version

_WAIT_SECONDS = 30
_CONNECTIONS, _CONNECTIONS_MORE = 10, 40
_OUR_MISTAKES = (database_errors.ProgrammingError, database_errors.IntegrityError, database_errors.DataError)
_NO_SYNC = text("SET LOCAL synchronous_commit TO OFF")
_ADVISORY_LOCK = 0x68617070
"""Held in PostgreSQL while tables are made: "CREATE TABLE IF NOT EXISTS" alone fails when two begin at once."""


class Database:
    """An engine with its tables. Open one per process: connections do not survive a fork."""

    def __init__(self, url: str | Path) -> None:
        """``url``: a path or sqlite:///PATH, or postgresql://USER:PASSWORD@HOST:PORT/NAME.

        Raises ConfigError for other URLs and for tables of a newer version, JobStoreError if the database cannot be
        opened, MissingToolError without a driver.
        """
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = _sqlite_engine(self.url, "FULL") if self.is_sqlite else _postgresql_engine(self.url)
        self._relaxed = _sqlite_engine(self.url, "NORMAL") if self.is_sqlite else self.engine
        # Threads that wait for these turns are woken at once; in SQLite they would look again up to 100 ms late.
        self._commits = SharedCommits(self.engine.execution_options(writes=True))
        self._prepare()

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads. Raises JobStoreError if the database fails."""
        with self._errors(), self.engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A transaction that is kept as a whole or not at all. Raises JobStoreError if the database fails.

        What was written lasts if any process is killed. If the power fails, the latest transactions that need not be
        ``durable`` may be undone; they do not wait for the disk.
        """
        with self._errors(), self._transaction(durable) as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, durable: bool) -> Iterator[Connection]:
        if self.is_sqlite and durable:
            with self._commits.part() as connection:
                yield connection
        elif self.is_sqlite:
            with self._commits.alone(), self._relaxed.execution_options(writes=True).begin() as connection:
                yield connection
        else:
            with self.engine.begin() as connection:
                if not durable:
                    connection.execute(_NO_SYNC)
                yield connection

    def close(self) -> None:
        self.engine.dispose()
        self._relaxed.dispose()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _OUR_MISTAKES:
            raise
        except database_errors.DBAPIError as error:
            reason = str(error.orig).strip().split("\n")[0]
            raise JobStoreError(f"the job database {self.name} does not answer: {reason}") from error
        except database_errors.TimeoutError as error:
            raise JobStoreError(f"the job database {self.name} has no connection free; try again") from error

    def _prepare(self) -> None:
        """Makes the tables that are missing. Only one process at a time can, on either database."""
        if self.is_sqlite:
            _write_ahead(self.url)
        try:
            with self.write() as connection:
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
                METADATA.create_all(connection)
                self._check_version(connection)
        except database_errors.ProgrammingError as error:
            reason = str(error.orig).strip().split("\n")[0]
            raise JobStoreError(f"tables cannot be made in the job database {self.name}: {reason}") from error

    def _check_version(self, connection: Connection) -> None:
        found = connection.scalar(select(schema_version.c.version))
        if found is None:
            connection.execute(insert(schema_version).values(version=VERSION))
        elif found > VERSION:
            raise ConfigError(
                f"the job database {self.name} has tables of version {found}, this happyhorse knows {VERSION}; "
                "update happyhorse or choose another database"
            )


def _read_url(url: str | Path) -> URL:
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(Path(url).absolute()))
    try:
        read = make_url(url)
    except (database_errors.ArgumentError, ValueError) as error:
        raise ConfigError("the job database's URL is not readable; give a path or postgresql://...") from error
    backend = read.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return read.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigError(f"the job database cannot be {backend}; give a path, sqlite:///PATH or postgresql://...")
    if read.database in (None, "", ":memory:") or read.query:
        raise ConfigError("the job database must be a file that several processes can open; give sqlite:///PATH")
    return URL.create("sqlite", database=str(Path(read.database or "").absolute()))


def _engine(url: URL, **options: Any) -> Engine:
    pool = {"pool_size": _CONNECTIONS, "max_overflow": _CONNECTIONS_MORE, "pool_timeout": _WAIT_SECONDS}
    try:
        return create_engine(url, json_serializer=_json, **pool, **options)
    except ModuleNotFoundError as error:
        raise MissingToolError(
            "the job database needs a driver; install it: pip install 'happyhorse[server]'"
        ) from error


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _write_ahead(url: URL) -> None:
    """Switches a SQLite file to WAL, for good. SQLite does not wait for others here, so it is tried again."""
    name, deadline = str(url.database), time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            with contextlib.closing(sqlite3.connect(name)) as connection:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.Error as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise JobStoreError(
                    f"the job database {name} cannot be opened: {error}; choose another file"
                ) from error
            time.sleep(0.02)
    if mode != "wal":
        raise ConfigError(
            f"the job database {name} lies where processes share no memory; choose a folder of a local disk"
        )


def _postgresql_engine(url: URL) -> Engine:
    # A connection that died with the database's restart is replaced before it is used.
    return _engine(url, pool_pre_ping=True, connect_args={"connect_timeout": _WAIT_SECONDS})


def _sqlite_engine(url: URL, synchronous: str) -> Engine:
    make_folder(Path(url.database or "").parent)
    engine = _engine(url, connect_args={"timeout": _WAIT_SECONDS})
    event.listen(engine, "connect", functools.partial(_configure, synchronous=synchronous))
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any, synchronous: str) -> None:
    connection.isolation_level = None  # transactions begin where _begin says so, not where the driver thinks
    for pragma in ("foreign_keys = ON", f"synchronous = {synchronous}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
