"""Everything that the routes share: what is served, to whom, and where it is kept."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request

from happyhorse.files import make_folder, whole_file
from happyhorse.server.blobs import Blobs
from happyhorse.server.errors import ServiceError
from happyhorse.server.inspection import Inspector
from happyhorse.server.jobs import Jobs
from happyhorse.server.keys import Keys, locked
from happyhorse.server.limits import Limiter, Limits
from happyhorse.server.offers import Offers
from happyhorse.server.presence import Presence
from happyhorse.server.records import QUEUED
from happyhorse.server.settings import Settings
from happyhorse.server.webhooks import PREFIX, new_secret

P = ParamSpec("P")
R = TypeVar("R")

SECRETS = "webhook-secret.json"
LINK_SECONDS = 86_400.0
_SECRET_WAIT = 10.0
"""Seconds that a server waits for another one that draws the secret."""
_SLOW_AT_ONCE = 8
"""Requests whose files are fetched, decoded and kept at the same time."""


class Recent:
    """A number that is asked for at most once a second, however often it is wanted; safe to share between threads."""

    def __init__(self, ask: Callable[[], int], every: float = 1.0) -> None:
        self._ask, self._every = ask, every
        self._lock, self._known, self._at = threading.Lock(), 0, float("-inf")

    def __call__(self) -> int:
        with self._lock:
            if time.monotonic() - self._at > self._every:
                self._known, self._at = self._ask(), time.monotonic()
            return self._known


@dataclasses.dataclass(frozen=True)
class Caller:
    """Who asks."""

    owner: str = ""
    """Id of the key; "" where none is asked for."""
    sees: str | None = None
    """Whose jobs may be seen: an owner, or None for everyone's."""
    limits: Limits | None = None
    """None: nothing is counted."""


@dataclasses.dataclass
class Service:
    """A running service, as its routes see it."""

    settings: Settings
    queue: Jobs
    blobs: Blobs
    offers: Offers
    keys: Keys | None
    """None: no keys are asked for."""
    inspector: Inspector
    presence: Presence
    limiter: Limiter = dataclasses.field(default_factory=Limiter)
    incoming: Path | None = None
    """Where files lie until they are checked and kept; None: among the system's temporary files."""

    @functools.cached_property
    def waiting(self) -> Recent:
        """How many jobs wait, as of the last second."""
        return Recent(lambda: self.queue.counts()[QUEUED])

    @functools.cached_property
    def slow(self) -> anyio.CapacityLimiter:
        """A place of its own for slow requests, so that quick ones do not wait behind them."""
        return anyio.CapacityLimiter(_SLOW_AT_ONCE)

    def webhook_secret(self, owner: str) -> str:
        """What messages to an owner's webhooks are signed with: everyone has another one, all from one root."""
        return PREFIX + base64.b64encode(hmac.digest(self._root.encode(), owner.encode(), "sha256")).decode()

    def link(self, job: str, seconds: float = LINK_SECONDS) -> str:
        """The query of a link to a job's clip that needs no key until it has run out."""
        expires = int(self.queue.clock() + seconds)
        return f"expires={expires}&signature={self._link_signature(job, expires)}"

    def link_holds(self, job: str, expires: str | None, signature: str | None) -> bool:
        """Whether somebody was given such a link, and it has not run out."""
        if not (expires and signature and expires.isascii() and expires.isdigit() and len(expires) < 12):
            return False
        good = hmac.compare_digest(
            self._link_signature(job, int(expires)).encode(), signature.encode("utf-8", "replace")
        )
        return good and int(expires) >= self.queue.clock()

    def _link_signature(self, job: str, expires: int) -> str:
        return hmac.new(self._root.encode(), f"link {job} {expires}".encode(), "sha256").hexdigest()

    @functools.cached_property
    def _root(self) -> str:
        """From the settings, else drawn once and kept in the folder."""
        return self.settings.webhook_secret or kept_secret(self.settings.folder)

    def caller(self, token: str, scope: str, counted: bool = False) -> Caller:
        """Who may do what needs ``scope``; ``counted`` requests are held against the key's rate.

        Raises KeyRefusedError, ScopeError, LimitError, or ServiceError without a token where keys are asked for.
        """
        if self.keys is None:
            return Caller()
        if not token:
            raise ServiceError(401, "missing_api_key", "this server asks for an API key: Authorization: Bearer hh_...")
        key = self.keys.check(token, scope)
        limits = key.limits or self.settings.limits
        if counted:
            self.limiter.admit(key.id, limits)
        return Caller(key.id, None if key.allows("admin") else key.id, limits)

    @contextlib.contextmanager
    def slot(self, caller: Caller) -> Iterator[None]:
        """Counts a request as running. Raises LimitError if too many of the key's run already."""
        if caller.limits is None:
            yield
        else:
            with self.limiter.slot(caller.owner, caller.limits):
                yield


def token_of(request: Request) -> str:
    """The bearer token of a request; "" if there is none."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


async def in_thread(function: Callable[P, R], *arguments: P.args, **options: P.kwargs) -> R:
    """Calls what may block (databases, files) without blocking the event loop."""
    return await run_sync(functools.partial(function, *arguments, **options))


def kept_secret(folder: Path) -> str:
    """What a folder's servers sign with: drawn by the first of them, and the same for all."""
    path = folder / SECRETS
    if not path.exists():
        make_folder(folder)
        with locked(path, _SECRET_WAIT):
            if not path.exists():
                with whole_file(path) as temporary:
                    temporary.touch(0o600)
                    temporary.write_text(json.dumps({"secret": new_secret()}), encoding="utf-8")
    return str(json.loads(path.read_text(encoding="utf-8"))["secret"])


def new_group() -> str:
    """A name that the previews of one wish share."""
    return f"group_{secrets.token_hex(12)}"
