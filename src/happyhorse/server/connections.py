"""Connections to targets that a request named: the name is looked up once, its addresses are judged, and the connection
goes to the very address that was judged. Proxies of the environment are not used.

What this stands against is server-side request forgery, and names whose address changes between check and use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import happyhorse
from happyhorse.errors import HappyhorseError
from happyhorse.server.addresses import Address, is_permitted, read_address
from happyhorse.server.targets import ConnectionPolicy, FetchError, Target, UnreachableError

_ADDRESSES_TRIED = 4
_BLOCK = 65_536
_HEADS_MAX = 2**20
"""Bytes of heads and chunk marks that an answer may have beside its body."""


def system_addresses(host: str) -> list[str]:
    """All addresses of a name, as the operating system finds them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


@functools.cache
def system_trust() -> ssl.SSLContext:
    """Certificates are compared with the name and traced to the system's authorities."""
    return ssl.create_default_context()


@dataclasses.dataclass(frozen=True)
class Network:
    """What connections stand on; tests bring their own."""

    resolve: Callable[[str], Sequence[str]] = system_addresses
    trust: Callable[[], ssl.SSLContext] = system_trust
    clock: Callable[[], float] = time.monotonic


class Deadline:
    """The end of all patience."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds, self._clock, self._end = seconds, clock, clock() + seconds

    def left(self) -> float:
        """Seconds left, more than 0. Raises TimeoutError when there are none, as sockets do."""
        left = self._end - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def error(self) -> UnreachableError:
        return UnreachableError(f"not complete within {self._seconds:g} s, which is the limit; try again later")


# ---------------------------------------------------------------------------------------------------------- the address
def addresses_of(target: Target, policy: ConnectionPolicy, deadline: Deadline, network: Network) -> list[Address]:
    """The addresses of the host, looked up once. Raises FetchError if any of them may not be reached, and
    TimeoutError.

    One that may not is enough: a name that has private and public addresses at once is mistaken or means harm.
    """
    literal = read_address(target.host)
    found = [literal] if literal else [read_address(text) for text in _looked_up(target.host, deadline, network)]
    if not found:
        raise _unreachable(target)
    networks = policy.open_networks
    if any(address is None or not is_permitted(address, networks) for address in found):
        raise FetchError(f"{target.host} is not at a public address; only those are reached")
    return [address for address in dict.fromkeys(found) if address is not None][:_ADDRESSES_TRIED]


def _looked_up(host: str, deadline: Deadline, network: Network) -> Sequence[str]:
    """Asks in a thread of its own: the operating system's resolver knows no time limit."""
    answers: SimpleQueue[Sequence[str] | None] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(network.resolve(host))
        except (OSError, UnicodeError):
            answers.put(None)

    threading.Thread(target=ask, daemon=True, name="happyhorse-resolve").start()
    try:
        found = answers.get(timeout=deadline.left())
    except Empty as error:
        raise TimeoutError from error
    if found is None:
        raise UnreachableError(f"the name {host} was not found; check it, or try again later")
    return found


# ------------------------------------------------------------------------------------------------------- the connection
@contextlib.contextmanager
def answer_to(
    method: str,
    target: Target,
    policy: ConnectionPolicy,
    deadline: Deadline,
    network: Network,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    bytes_max: int = 0,
) -> Iterator[http.client.HTTPResponse]:
    """Sends a request and yields the answer, its head read. Redirects are not followed.

    ``bytes_max`` bounds what is received, apart from an allowance for heads and chunks; ``read_body`` counts exactly.
    Raises FetchError if the target may not be reached or sends too much, UnreachableError if it cannot be reached or
    takes too long, also while the block reads the answer.
    """
    own = {"Host": target.authority, "User-Agent": f"happyhorse/{happyhorse.__version__}", "Connection": "close"}
    try:
        addresses = addresses_of(target, policy, deadline, network)
        with _connected(target, addresses, deadline, network) as sock:
            connection = http.client.HTTPConnection(target.host, target.port)
            connection.auto_open = 0  # it has its connection, and must never make one by the name
            connection.sock = _BoundedSocket(sock, deadline, 2 * bytes_max + _HEADS_MAX)
            connection.request(
                method, target.path, body=body, headers={**own, "Accept-Encoding": "identity", **headers}
            )
            with connection.getresponse() as answer:
                yield answer
    except TimeoutError as error:
        raise deadline.error() from error
    except _TooMuchError as error:
        raise _too_large(bytes_max) from error
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(f"{target.host} has no valid certificate for its name") from error
    except (OSError, http.client.HTTPException) as error:
        # No word on what failed where: that would tell strangers how the network is built.
        raise _unreachable(target) from error


def read_body(answer: http.client.HTTPResponse, bytes_max: int) -> Iterator[bytes]:
    """The body in blocks. Raises FetchError as soon as it is larger than ``bytes_max``, or if it is cut short."""
    announced, seen = answer.length, 0
    if announced is not None and announced > bytes_max:
        raise _too_large(bytes_max)
    while block := _read(answer):
        seen += len(block)
        if seen > bytes_max:
            raise _too_large(bytes_max)
        yield block
    if announced is not None and seen < announced:
        raise UnreachableError(f"only {seen} of {announced} bytes came; try again later")


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(_BLOCK)
    except HappyhorseError:
        raise
    except ValueError as error:  # http.client takes chunks of negative sizes for good, and then stumbles
        raise http.client.HTTPException(str(error)) from error


def _too_large(bytes_max: int) -> FetchError:
    return FetchError(f"the URL holds more than {bytes_max / 2**20:g} MiB, which is the limit; give a smaller file")


def _unreachable(target: Target) -> UnreachableError:
    return UnreachableError(f"{target.host} could not be reached; check the URL, or try again later")


@contextlib.contextmanager
def _connected(
    target: Target, addresses: Sequence[Address], deadline: Deadline, network: Network
) -> Iterator[socket.socket]:
    sock = _first_connected(target, addresses, deadline)
    try:
        if target.scheme == "https":
            sock.settimeout(deadline.left())
            sock = network.trust().wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
            sock.do_handshake()
        yield sock
    finally:
        sock.close()


def _first_connected(target: Target, addresses: Sequence[Address], deadline: Deadline) -> socket.socket:
    failure: OSError | None = None
    for tried, address in enumerate(addresses):
        sock = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        try:
            # An address that does not answer leaves the others their share of the time.
            sock.settimeout(deadline.left() / (len(addresses) - tried))
            sock.connect((str(address), target.port))
            return sock
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
    assert failure is not None
    raise failure


class _TooMuchError(OSError):
    """More came than was bargained for. (http.client takes errors of the ValueError family for its own.)"""


class _BoundedSocket:
    """What http.client needs of a socket. Each wait ends by the deadline, and no more than ``bytes_max`` are received.

    Whoever opened the socket closes it.
    """

    def __init__(self, sock: socket.socket, deadline: Deadline, bytes_max: int) -> None:
        self._sock, self._deadline, self._bytes_max = sock, deadline, bytes_max

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._sock.settimeout(self._deadline.left())
            view = view[self._sock.send(view[:_BLOCK]) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb", mode
        return io.BufferedReader(_BoundedReader(self._sock, self._deadline, self._bytes_max))

    def close(self) -> None:
        pass


class _BoundedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline, bytes_max: int) -> None:
        self._sock, self._deadline, self._left = sock, deadline, bytes_max

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._deadline.left())
        received = self._sock.recv_into(buffer)
        self._left -= received
        if self._left < 0:
            raise _TooMuchError
        return received
