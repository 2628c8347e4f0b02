"""``happyhorse serve``: the HTTP service with its workers, and the API keys of its clients."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from happyhorse.cli.main import say
from happyhorse.errors import ConfigError, MissingToolError

if TYPE_CHECKING:
    from happyhorse.server.keys import Keys
    from happyhorse.server.settings import Settings

PACKAGES = ("fastapi", "uvicorn", "python_multipart", "sqlalchemy", "fsspec", "prometheus_client", "filelock")
STREAMS_END_AFTER = 3
"""Seconds that open connections are given when the server stops."""
_LOG_FORMAT = "%(asctime)s %(name)s %(levelname)s %(message)s"


def serve(arguments: Mapping[str, Any] | None = None) -> int:
    """Runs the service until it is stopped; ``arguments`` are fields of ``Settings``, None where left out.

    Raises ConfigError, WeightsError or MissingToolError for what cannot be served.
    """
    _require_packages()
    from happyhorse.server.settings import Settings

    settings = Settings.read(arguments)
    listening = listen(settings.host, settings.port)
    with contextlib.closing(listening):
        address = f"http://{_shown(settings.host)}:{listening.getsockname()[1]}"
        run(settings, listening, address)
    return 0


def run(settings: Settings, listening: socket.socket, address: str) -> None:
    """Serves on a socket until a signal says to stop."""
    import uvicorn

    from happyhorse.server.app import create_app
    from happyhorse.server.engines import engine_of

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=_LOG_FORMAT)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    engine = engine_of(settings)
    app = create_app(settings, engine=engine)
    if settings.asks_for_keys:
        _first_key(settings)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STREAMS_END_AFTER,
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            """Event streams would go on for as long as their jobs."""
            app.state.listeners.end()
            super().handle_exit(sig, frame)

    say(f"{address}  {', '.join(settings.models)}; workers on {engine.where}")
    # Stopping in order is how a server ends; the signal that asked for it is not an error.
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises ConfigError if it cannot be had."""
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        # Python adds the address to the system's reason, and it is said already.
        reason = (getattr(error, "strerror", None) or "no such host").partition(" (")[0]
        raise ConfigError(f"{host}:{port} cannot be listened at ({reason}); choose another --port or --host") from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _require_packages() -> None:
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        raise MissingToolError(f"the service needs {', '.join(lacking)}: pip install 'happyhorse[server]'")


# --------------------------------------------------------------------------------------------------------------- keys
def create_key(
    name: str,
    scopes: Sequence[str],
    *,
    folder: Path | None = None,
    per_minute: float | None = None,
    burst: int | None = None,
    concurrent: int | None = None,
    days: float | None = None,
) -> None:
    """Makes an API key and prints it; it is shown this once. Limits that are left out are those of the server."""
    from happyhorse.server.limits import Limits

    settings, keys = _keys(folder)
    own = {"per_minute": per_minute, "burst": burst, "concurrent": concurrent}
    given = {limit: value for limit, value in own.items() if value is not None}
    limits = Limits.from_dict({**settings.limits.to_dict(), **given}) if given else None
    lifetime = None if days is None else days * 86_400
    print(keys.create(name, scopes, limits=limits, lifetime=lifetime), flush=True)


def list_keys(folder: Path | None = None, as_json: bool = False) -> None:
    """Prints a line for each API key, without its secret."""
    for key in _keys(folder)[1].list():
        facts = {"id": f"hh_{key.id}", "name": key.name, "scopes": list(key.scopes), "state": _state(key)}
        if as_json:
            print(json.dumps({**facts, "created_at": key.created_at, "last_used_at": key.last_used_at}), flush=True)
        else:
            print(f"{facts['id']}  {key.name}  {', '.join(key.scopes)}  {facts['state']}", flush=True)


def revoke_key(name: str, folder: Path | None = None) -> None:
    """Ends an API key by its id. Raises ConfigError if there is none of that id."""
    key = _keys(folder)[1].revoke(name)
    print(f"hh_{key.id}  {key.name}  revoked", flush=True)


def _keys(folder: Path | None) -> tuple[Settings, Keys]:
    _require_packages()
    from happyhorse.server.keys import Keys
    from happyhorse.server.settings import Settings

    settings = Settings.read({"folder": folder})
    return settings, Keys(settings.folder, pepper=settings.pepper.encode())


def _state(key: Any) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= time.time() else "good"


def _first_key(settings: Settings) -> None:
    """Where keys are asked for and there is none yet, one is made and shown."""
    _, keys = _keys(settings.folder)
    if not keys.list():
        secret = keys.create("first", ("admin",))
        say(f"the first API key, for everything, shown this once: {secret}")
