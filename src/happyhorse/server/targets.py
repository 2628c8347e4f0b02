"""Which URLs may be reached on behalf of a request: their scheme, host and port are on lists, the default ones empty.

Programs disagree on what an odd URL means, which is how forbidden ones get past checks; so odd ones are refused.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from happyhorse.config import Config
from happyhorse.errors import ConfigError, HappyhorseError
from happyhorse.server.addresses import read_address

URL_MAX = 2048
_URL_LETTERS = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII but the backslash, which some programs read as a slash."""
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


class FetchError(HappyhorseError):
    """A URL that may not be reached, or that does not hold what it should."""


class UnreachableError(FetchError):
    """No answer this time: the name, the connection or the answer failed or took too long. It may go well later."""


@dataclasses.dataclass(frozen=True)
class ConnectionPolicy(Config):
    """What may be reached. The default is nothing."""

    hosts: tuple[str, ...] = ()
    """Names that may be reached: exact ("media.example.com") or with all names below one (".example.com")."""
    schemes: tuple[str, ...] = ("https",)
    """"https", and "http" if it must be."""
    ports: tuple[int, ...] = (80, 443)
    networks: tuple[str, ...] = ()
    """Networks ("10.1.0.0/16") that may be reached though they are not public."""
    seconds: float = 30.0
    """For everything together: looking up, connecting, redirects, all bytes."""

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not _HOST.fullmatch(host.lower().removeprefix(".")) and read_address(host) is None:
                raise ConfigError(f"{host!r} is no host; write media.example.com, or .example.com for all names below")
        if not set(self.schemes) <= set(_PORTS):
            raise ConfigError(f"schemes are {', '.join(self.schemes)}; only http and https can be reached")
        _ = self.open_networks

    @property
    def open_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        try:
            return tuple(ipaddress.ip_network(network) for network in self.networks)
        except ValueError as error:
            raise ConfigError(f"{error}; write a network such as 10.1.0.0/16") from error

    def names(self, host: str) -> bool:
        """Whether a host (a name in small letters, or an address) is on the list."""
        address = read_address(host)
        if address is not None:
            return address in map(read_address, self.hosts)
        listed = [name.lower() for name in self.hosts]
        return host in listed or any(name.startswith(".") and host.endswith(name) for name in listed)


@dataclasses.dataclass(frozen=True)
class Target:
    """A URL taken apart, once its scheme, host and port were found on the lists."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    """With the query, without the fragment."""

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(url: str, policy: ConnectionPolicy) -> Target:
    """The parts of a URL that the policy lets be reached. Raises FetchError; nothing is looked up or connected to."""
    if len(url) > URL_MAX:
        raise FetchError(f"the URL has {len(url)} characters; the limit is {URL_MAX}")
    if not _URL_LETTERS.fullmatch(url):
        raise FetchError("the URL has spaces or other characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise FetchError("the URL cannot be read; check its host and port") from error
    scheme = parts.scheme.lower()
    if scheme not in policy.schemes:
        raise FetchError(f"URLs of the scheme {scheme[:16] or 'none'!r} are not reached; {_listed(policy.schemes)}")
    if "@" in parts.netloc:
        raise FetchError("the URL has a user name or password in it; remove it")
    host = _checked_host(host.removesuffix("."), policy)
    port = _PORTS[scheme] if port is None else port
    if port not in policy.ports:
        raise FetchError(f"port {port} is not reached; {_listed(policy.ports)}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(url, scheme, host, port, path)


def _checked_host(host: str, policy: ConnectionPolicy) -> str:
    if read_address(host) is None:
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise FetchError(f"{host[:64]!r} is not the name of a host")
        # What ends in a number is an address to the operating system, however it is spelt.
        if _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise FetchError(f"{host[:64]!r} is no address that is taken; write four decimal numbers")
    if not policy.names(host):
        raise FetchError(f"{host[:64]} is not among the hosts that this server reaches; {_listed(policy.hosts)}")
    return host


def _listed(allowed: Sequence[Any]) -> str:
    return f"it reaches {', '.join(map(str, allowed[:8]))}" if allowed else "it reaches none"
