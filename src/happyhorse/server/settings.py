"""How the service runs: from arguments, else from variables HAPPYHORSE_SERVE_..., else the defaults below."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.server.fetching import FetchPolicy
from happyhorse.server.keys import needs_keys
from happyhorse.server.limits import Limits
from happyhorse.server.targets import ConnectionPolicy
from happyhorse.server.uploads import UploadLimits

PREFIX = "HAPPYHORSE_SERVE_"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_AT_LEAST = {
    "port": 0,
    "lease_seconds": 1,
    "attempts": 1,
    "previews_max": 1,
    "batch": 0,
    "queue_max": 1,
    "sync_seconds": 0,
    "body_mib": 1,
    "listeners_max": 1,
    "per_minute": 1e-3,
    "burst": 1,
    "concurrent": 1,
    "stop_seconds": 0,
    "slots": 0,
}
ENGINES = ("processes", "ray")
_RAY_WORKERS = ("auto", "cpu", "cuda", "none")


def default_folder() -> Path:
    """Beside the library of clips: ~/.local/share/happyhorse/service."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "happyhorse" / "service"


@dataclasses.dataclass(frozen=True)
class Settings(Config):
    """Everything that an operator can decide."""

    host: str = "127.0.0.1"
    """Address to listen on; beyond loopback API keys are asked for."""
    port: int = 8000
    """0: any free one."""
    folder: Path = dataclasses.field(default_factory=default_folder)
    """Keys, the default database and the default store."""
    database: str = ""
    """postgresql://..., or a path; empty: SQLite in the folder."""
    store: str = ""
    """Where clips are kept: a folder or s3://BUCKET/PREFIX; empty: in the folder."""
    arena: Path | None = None
    """The arena's folder; None: where ``happyhorse arena`` keeps it."""
    models: tuple[str, ...] = ("foal",)
    """Names or folders of the models that are offered; the first is the default."""
    workers: tuple[str, ...] = ("auto",)
    """A device for each worker process: cpu, cuda:0, ...; "auto": one for each GPU, else one on the CPU; "none"."""
    engine: str = "processes"
    """What runs the workers: "processes" of this machine, or actors of "ray" on the machines of a cluster."""
    address: str = ""
    """Where Ray is: HOST:PORT of its head, or auto for that of this machine's node; empty: one is started here."""
    slots: int = 0
    """Workers that Ray starts on a node at most; 0: one for each GPU, or one on the CPU."""
    batch: int = 0
    """Previews of one kind that a worker makes at once; 0: 4 on a GPU, 1 on a CPU, where more save nothing."""
    keys: bool | None = None
    """Whether API keys are asked for; None: if other machines can reach the address."""
    pepper: str = ""
    """A secret that API keys are hashed with, beside their own salt."""
    fetch_hosts: tuple[str, ...] = ()
    """Hosts that images, sounds and films may be fetched from: names, or .suffix; empty: none."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts that may be told of finished jobs."""
    webhook_secret: str = ""
    """What the secrets of webhooks are derived from; empty: drawn once and kept in the folder."""
    reach_schemes: tuple[str, ...] = ("https",)
    """How the hosts above may be reached: https, http."""
    reach_ports: tuple[int, ...] = (80, 443)
    """Ports at which they may be."""
    reach_networks: tuple[str, ...] = ()
    """Networks such as 10.1.0.0/16 in which they may be although these are not public."""
    public_names: tuple[str, ...] = ()
    """Names that browsers reach the service by, beside its address; a proxy's, for instance."""
    body_mib: float = 256
    """Largest body of a request."""
    per_minute: float = 120
    """Requests of a key in a minute that cost work: submissions, and what goes with them."""
    burst: int = 60
    """Such requests that may come at once."""
    concurrent: int = 16
    """Requests of a key that may run at the same time."""
    listeners_max: int = 1000
    """Open event streams."""
    queue_max: int = 10_000
    """Jobs that may wait."""
    previews_max: int = 8
    """Clips that one request may ask for."""
    attempts: int = 3
    """How often a job is taken up whose worker vanished."""
    lease_seconds: float = 30
    """How long a worker may be silent before its job is taken up by another."""
    sync_seconds: float = 600
    """How long a synchronous request waits for its clip."""
    stop_seconds: float = 20
    """How long workers are given to stop."""
    keep_days: float | None = None
    """Age at which finished jobs and their clips are deleted; None: never."""
    keep_gib: float | None = None
    """Size of the store above which the oldest finished jobs are deleted; None: any."""
    stub: bool = False
    """Workers make tiny clips without a model: for load tests."""

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            if not getattr(self, name) >= least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.port > 65_535:
            raise ConfigError(f"port is {self.port}; it must be 0 to 65535")
        _ = self.fetching, self.delivering, self.limits
        self._check_engine()
        if not self.models:
            raise ConfigError("models is empty; name at least one, such as foal")
        for name in ("keep_days", "keep_gib"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be more than 0, or left out to keep everything")

    def _check_engine(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"engine is {self.engine!r}; it must be {' or '.join(ENGINES)}")
        if self.engine != "ray":
            if self.address or self.slots:
                raise ConfigError("address and slots are Ray's; give --engine ray with them, or leave them out")
        elif len(self.workers) != 1 or self.workers[0] not in _RAY_WORKERS:
            raise ConfigError(
                f"workers is {', '.join(self.workers)}; with Ray it must be one of {', '.join(_RAY_WORKERS)}"
            )
        elif "://" in self.address:
            raise ConfigError(f"address is {self.address}; give HOST:PORT or auto: the server runs on a node of Ray's")

    @classmethod
    def read(cls, arguments: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> Settings:
        """Arguments that are not None count before variables. Raises ConfigError naming what cannot be read."""
        environment = os.environ if environment is None else environment
        kinds = typing.get_type_hints(cls)
        unknown = [name for name in environment if name.startswith(PREFIX) and _field(name) not in kinds]
        if unknown:
            raise ConfigError(f"{', '.join(sorted(unknown))} is no setting; the settings are {', '.join(kinds)}")
        found = {
            _field(name): _parsed(name, text, kinds[_field(name)])
            for name, text in environment.items()
            if name.startswith(PREFIX)
        }
        given = {name: value for name, value in (arguments or {}).items() if value is not None}
        return cls.from_dict({**found, **given})

    def environment(self) -> dict[str, str]:
        """The settings as variables, for the worker processes: arguments could be read by every user."""
        values = {name: value for name, value in self.to_dict().items() if value is not None}
        return {PREFIX + name.upper(): _text(value) for name, value in values.items()}

    @property
    def asks_for_keys(self) -> bool:
        return needs_keys(self.host, self.keys)

    @property
    def database_url(self) -> str | Path:
        return self.database or self.folder / "jobs.sqlite"

    @property
    def store_url(self) -> str | Path:
        return self.store or self.folder / "blobs"

    def batch_on(self, device: str) -> int:
        """Previews that a worker on a device makes at once."""
        return self.batch or (1 if device.startswith("cpu") else 4)

    @property
    def limits(self) -> Limits:
        """Of a key that has none of its own."""
        return Limits(self.per_minute, self.burst, self.concurrent)

    @property
    def uploads(self) -> UploadLimits:
        """What may come in; a film is the only kind that could fill a whole body."""
        standard = UploadLimits()
        return standard.replace(video_bytes=min(standard.video_bytes, int(self.body_mib * 2**20)))

    @property
    def fetching(self) -> FetchPolicy:
        """What may be fetched for requests."""
        return FetchPolicy(hosts=self.fetch_hosts, bytes_max=self.uploads.video_bytes, **self._reach())

    @property
    def delivering(self) -> ConnectionPolicy:
        """Where webhooks may be delivered."""
        return ConnectionPolicy(hosts=self.webhook_hosts, **self._reach())

    def _reach(self) -> dict[str, Any]:
        return {"schemes": self.reach_schemes, "ports": self.reach_ports, "networks": self.reach_networks}

    @property
    def keep_seconds(self) -> float | None:
        return None if self.keep_days is None else self.keep_days * 86_400


def _field(variable: str) -> str:
    return variable.removeprefix(PREFIX).lower()


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _parsed(name: str, text: str, kind: Any) -> Any:
    """A variable's text as the type of its field; an optional one is read as what it is if it is there."""
    if isinstance(kind, types.UnionType):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    try:
        if kind is bool:
            return _yes_or_no(text)
        if typing.get_origin(kind) is tuple:
            inner = typing.get_args(kind)[0]
            return tuple(inner(part.strip()) for part in text.split(",") if part.strip())
        return kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}; it must be {'yes or no' if kind is bool else 'a number'}") from error


def _yes_or_no(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text.lower() in _TRUE
