"""Files fetched from URLs that a request names, or decoded from its data: URLs, within the limits of a policy."""

from __future__ import annotations

import base64
import binascii
import contextlib
import dataclasses
import http.client
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin

from happyhorse.errors import ConfigError
from happyhorse.server.arrivals import arriving
from happyhorse.server.connections import Deadline, Network, answer_to, read_body
from happyhorse.server.signatures import KINDS, media_types
from happyhorse.server.targets import ConnectionPolicy, FetchError, target_of

REDIRECTS_MAX = 3
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclasses.dataclass(frozen=True)
class FetchPolicy(ConnectionPolicy):
    """What may be fetched. The default reaches no host; data: URLs, which reach nothing, are decoded."""

    bytes_max: int = 64 * 2**20
    media_types: tuple[str, ...] = media_types(*KINDS)
    """What the other side may say that it sends. What it does send is looked at by ``uploads``."""
    data_urls: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes_max < 1 or self.seconds <= 0:
            raise ConfigError(f"bytes_max is {self.bytes_max} and seconds {self.seconds}; both must be more than 0")


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A file that came. It is the caller's to move or remove."""

    path: Path
    media_type: str
    """As declared: small letters, without parameters."""
    bytes: int


def fetch(url: str, policy: FetchPolicy, folder: Path | None = None, network: Network | None = None) -> Fetched:
    """Fetches a URL into a new file in ``folder`` (None: the system's for temporary files).

    Raises FetchError if the policy does not let it, or the answer is no file within it; UnreachableError (one of them)
    if another attempt may go well; OutputError if the file cannot be written. Then no file is left.
    """
    if url[:5].lower() == "data:":
        return _fetch_data(url, policy, folder)
    network = network or Network()
    deadline = Deadline(policy.seconds, network.clock)
    headers = {"Accept": ", ".join(policy.media_types)}
    for _ in range(REDIRECTS_MAX + 1):
        target = target_of(url, policy)
        with answer_to("GET", target, policy, deadline, network, headers=headers, bytes_max=policy.bytes_max) as answer:
            if answer.status not in _REDIRECTS:
                return _keep(answer, target.host, policy, folder)
            url = _next_url(target.url, answer)
    raise FetchError(f"the URL leads on to others more than {REDIRECTS_MAX} times; give the last one")


def _next_url(url: str, answer: http.client.HTTPResponse) -> str:
    location = answer.headers.get("Location", "")
    with contextlib.suppress(ValueError):
        return urljoin(url, location)
    raise FetchError("the URL leads on to one that cannot be read")


def _keep(answer: http.client.HTTPResponse, host: str, policy: FetchPolicy, folder: Path | None) -> Fetched:
    """Writes the body of a good answer to a file."""
    if answer.status != 200:
        raise FetchError(f"{host} answered {answer.status} instead of a file; check the URL")
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise FetchError(f"{host} sends the file compressed, which was not asked for; give another URL")
    media_type = _checked_type(answer.headers.get("Content-Type", ""), policy)
    return _written(read_body(answer, policy.bytes_max), media_type, folder)


def _checked_type(declared: str, policy: FetchPolicy) -> str:
    media_type = declared.partition(";")[0].strip().lower()
    if media_type not in policy.media_types:
        kinds = [kind for kind in KINDS if any(name.startswith(f"{kind}/") for name in policy.media_types)]
        shown = media_type[:64] if media_type.isprintable() and media_type else "a file of no type"
        raise FetchError(f"the URL holds {shown!r}; taken are files of the kinds {', '.join(kinds)}")
    return media_type


# ---------------------------------------------------------------------------------------------------------- data: URLs
def _fetch_data(url: str, policy: FetchPolicy, folder: Path | None) -> Fetched:
    """RFC 2397: data:[media type][;base64],content"""
    if not policy.data_urls:
        raise FetchError("data: URLs are not taken here; send a file")
    head, comma, content = url[5:].partition(",")
    if not comma:
        raise FetchError("the data: URL has no comma between its type and its content")
    media_type = _checked_type(head, policy)
    # Before anything is decoded: four letters stand for at least a byte, however it is written.
    if len(content) > 4 * policy.bytes_max + 4:
        raise _too_large(policy)
    data = _decoded(content, base64_coded=head.lower().rstrip().endswith(";base64"))
    if len(data) > policy.bytes_max:
        raise _too_large(policy)
    return _written([data], media_type, folder)


def _decoded(content: str, base64_coded: bool) -> bytes:
    try:
        data = unquote_to_bytes(content.encode("ascii")) if "%" in content else content.encode("ascii")
        return base64.b64decode(data, validate=True) if base64_coded else data
    except (UnicodeEncodeError, binascii.Error) as error:
        raise FetchError("the content of the data: URL is not what its head says; check its base64") from error


def _too_large(policy: FetchPolicy) -> FetchError:
    return FetchError(f"the data: URL holds more than {policy.bytes_max / 2**20:g} MiB, which is the limit")


def _written(blocks: Iterable[bytes], media_type: str, folder: Path | None) -> Fetched:
    with arriving(folder, "fetched-") as arrival:
        for block in blocks:
            arrival.write(block)
    return Fetched(arrival.path, media_type, arrival.bytes)
