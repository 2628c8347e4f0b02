"""What every request and answer passes: an id, security headers, limits of size, and who may ask at all.

A browser sends requests of any page to any server, this one on its own machine included; so requests that change
something are refused if another site's page makes them, and on loopback only names of loopback are answered to, which
a name that an attacker points at 127.0.0.1 is not.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from happyhorse.server.errors import INTERNAL, INTERNAL_MESSAGE, ServiceError
from happyhorse.server.keys import needs_keys

CSP = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
"""No inline scripts or styles, nothing from other hosts, in no frame."""
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_SAFE = ("GET", "HEAD", "OPTIONS")
Refuse = Callable[[Scope, ServiceError], ASGIApp]
Record = Callable[[str, str, int, float], None]
log = logging.getLogger("happyhorse.server")


class Guards:
    """ASGI middleware around the whole service."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, names: Iterable[str] | None, refuse: Refuse, record: Record):
        """``names``: hosts that are answered to, None for any. ``refuse`` makes the answer of an error; ``record``
        is told method, route, status and seconds of each request."""
        self.app, self._body_bytes, self._refuse, self._record = app, body_bytes, refuse, record
        self._names = None if names is None else {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope.setdefault("state", {})["request_id"] = secrets.token_hex(16)
        began, status, count, started = time.perf_counter(), 500, 0, False

        async def limited() -> Message:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._body_bytes:
                raise self._too_large()
            return message

        async def guarded(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = scope["state"]["request_id"]
                if scope["path"].startswith(("/v1/", "/api/")):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            refused = self._objection(scope)
            app = self._refuse(scope, refused) if refused else self.app
            await app(scope, limited, guarded)
        except ClientDisconnect:
            status = 499
        except Exception:
            # What is meant for clients became an answer inside; this is a mistake of ours, for the log alone.
            log.exception("%s %s failed (request %s)", scope["method"], _route(scope), scope["state"]["request_id"])
            if not started:
                internal = ServiceError(500, INTERNAL, INTERNAL_MESSAGE)
                await self._refuse(scope, internal)(scope, receive, guarded)
        finally:
            self._record(scope["method"], _route(scope), status, time.perf_counter() - began)

    def _objection(self, scope: Scope) -> ServiceError | None:
        """Why a request is not even looked at."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._names is not None and not _is_known(host, self._names):
            return ServiceError(403, "unknown_host", f"this server does not answer to the host {host[:80]!r}", "Host")
        origin = headers.get("origin")
        if scope["method"] not in _SAFE and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return ServiceError(403, "cross_origin", "pages of other sites may not use this server", "Origin")
        with contextlib.suppress(ValueError):
            if int(headers.get("content-length", "0")) > self._body_bytes:
                return self._too_large()
        return None

    def _too_large(self) -> ServiceError:
        message = f"the body has more than {self._body_bytes / 2**20:g} MiB, which is the limit"
        return ServiceError(413, "body_too_large", message)


def _is_known(host: str, names: set[str]) -> bool:
    """Whether a Host header names loopback or one of ``names``."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name in names or name == "localhost" or (_is_address(name) and not needs_keys(name))


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def _route(scope: Scope) -> str:
    """The route's pattern, so that ids do not each count as one."""
    return getattr(scope.get("route"), "path", "") or "other"
