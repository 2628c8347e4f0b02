"""A private PostgreSQL on a free port, in a folder of its own that goes with it: for tests and benchmarks.

Nothing of it outlives the block, and a server that is installed and running otherwise is left alone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

INSTALL = "apt-get update && apt-get install -y postgresql"


class NoPostgres(Exception):
    """Why there is no server to test with."""


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a running server's own database. Raises NoPostgres with a reason."""
    programs, user = _programs(), _user()
    folder = Path(tempfile.mkdtemp(prefix="happyhorse-postgres-"))
    try:
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        _run(
            [programs / "initdb", "-D", folder / "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"], user
        )
        with _running(programs, folder, user) as port:
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Iterator[int]:
    port = _free_port()
    # Tests ask whether transactions hold against other processes, not against a power cut.
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
    settings["max_connections"] = 200
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        command = [programs / "postgres", "-D", folder / "data", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, **_as(user))
    try:
        _wait(server, port, folder / "log")
        yield port
    finally:
        server.send_signal(signal.SIGQUIT)  # at once, with all of its processes; its data goes anyway
        server.wait(30)


def _wait(server: subprocess.Popen, port: int, log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise NoPostgres(f"PostgreSQL did not start: {log.read_text(errors='replace')[-500:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            if "ready to accept connections" in log.read_text(errors="replace"):
                return
        time.sleep(0.1)
    raise NoPostgres("PostgreSQL did not answer within 30 s")


def _programs() -> Path:
    """The folder of initdb and postgres, which Debian keeps out of PATH; installed if this is root on Debian."""
    found = _found()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"PostgreSQL is not installed; running: {INSTALL}", flush=True)
        silent = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(INSTALL, shell=True, capture_output=True, text=True, env=silent, check=False)
        if done.returncode:
            raise NoPostgres(f"PostgreSQL could not be installed ({INSTALL}): {done.stderr[-300:]}")
        found = _found()
    if found is None:
        raise NoPostgres(f"PostgreSQL is not installed; as root, run: {INSTALL}")
    return found


def _found() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if versions:
        return versions[-1].parent
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


def _user() -> pwd.struct_passwd | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoPostgres("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")


def _as(user: pwd.struct_passwd | None) -> dict:
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"} if user else {"cwd": "/"}


def _run(command: list, user: pwd.struct_passwd | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as(user))
    if done.returncode:
        raise NoPostgres(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
