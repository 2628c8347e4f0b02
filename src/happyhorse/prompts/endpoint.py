"""A language model behind an OpenAI-compatible chat endpoint: one question, one answer, by the standard library alone.

It may be a program on this machine (llama.cpp, vLLM, Ollama) or somebody's service. Nothing is sent anywhere unless an
address was given for it, and the key goes to that address alone: not along a redirect, and into no message.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from happyhorse.errors import ConfigError

URL, MODEL, KEY = "HAPPYHORSE_LLM_URL", "HAPPYHORSE_LLM_MODEL", "HAPPYHORSE_LLM_KEY"
"""Variables of the environment."""
SECONDS = 120.0
ANSWER_BYTES_MAX = 4 * 2**20
IMAGE_SIDE_MAX = 1024
"""An image is made smaller until its longer side has this many pixels."""
_PATH = "/chat/completions"
_WORDS = 160
"""Characters of an answer that an error repeats."""
_MEND = {
    400: "the model may not take such a request (an image, a temperature); try another",
    401: f"check the key in {KEY}",
    403: f"check the key in {KEY}",
    404: f"check the address in {URL} and the model's name in {MODEL}",
    413: "the image may be too large for it; leave it out",
    429: "wait a while, or check the account",
}

Message = Mapping[str, Any]
"""{"role": ..., "content": ...} of the chat protocol."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where a language model answers. ConfigError for an address or a key that cannot be used."""

    url: str
    """Base address (https://host/v1) or that of the chat completions themselves."""
    model: str
    """The model's name, as that endpoint calls it."""
    key: str = dataclasses.field(default="", repr=False)
    """Sent as a bearer token if it is not empty."""
    seconds: float = SECONDS
    """Longest wait for an answer; twice that if it comes in pieces."""
    temperature: float = 0.0
    """Of sampling; 0 asks for the likeliest answer."""

    def __post_init__(self) -> None:
        _checked_url(self.url)
        # The HTTP library would repeat a key that it refuses, so it is refused here, unseen.
        if not (self.key.isascii() and (self.key.isprintable() and " " not in self.key)):
            raise ConfigError(f"the key in {KEY} has spaces or characters that a key cannot have; copy it again")

    @property
    def address(self) -> str:
        """Where questions are sent."""
        parts = _checked_url(self.url)
        path = parts.path.rstrip("/")
        return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH, fragment=""))

    @property
    def shown(self) -> str:
        """The address without its query, for messages."""
        return urlunsplit(urlsplit(self.address)._replace(query=""))


def find_endpoint(
    url: str | None = None,
    model: str | None = None,
    key: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """The endpoint that is given, with the environment for what is not. Raises ConfigError if there is none."""
    given = {URL: url or environment.get(URL, ""), MODEL: model or environment.get(MODEL, "")}
    missing = [name for name, value in given.items() if not value.strip()]
    if missing:
        raise ConfigError(
            f"no language model to ask: set {' and '.join(missing)} to an OpenAI-compatible endpoint "
            "(http://127.0.0.1:8080/v1) and its model, or go without rewriting"
        )
    return Endpoint(given[URL].strip(), given[MODEL].strip(), (key or environment.get(KEY, "")).strip())


def ask(endpoint: Endpoint, messages: Sequence[Message]) -> str:
    """The model's answer to a conversation. Raises ConfigError for an endpoint that is not there or refuses, that is
    too slow, or whose answer is no chat completion."""
    body = {"model": endpoint.model, "messages": messages, "temperature": endpoint.temperature, "stream": False}
    request = urllib.request.Request(endpoint.address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if endpoint.key:
        request.add_unredirected_header("Authorization", f"Bearer {endpoint.key}")
    return _content(endpoint, _send(endpoint, request))


def image_part(path: Path) -> dict[str, Any]:
    """An image as a part of a message: upright, at most IMAGE_SIDE_MAX pixels a side, as JPEG in a data URL.

    It is drawn anew, so nothing of the file but its picture is sent (cameras note the place). Raises MediaError if it
    is missing, too large, or not an image.
    """
    from happyhorse.codecs.images import fit_image, jpeg, read_image

    image = read_image(path)
    scale = min(1.0, IMAGE_SIDE_MAX / max(image.shape[:2]))
    height, width = (max(2, round(side * scale)) for side in image.shape[:2])
    data = base64.b64encode(jpeg(fit_image(image, height, width))).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}


def _checked_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a broken IPv6 address
        usable = None
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError(f"{url!r} is no address of an endpoint; it looks like http://127.0.0.1:8080/v1")
    if parts.username or parts.password:
        raise ConfigError(f"the address of the endpoint holds a name or password; take it out and set {KEY}")
    return parts


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the question into another request; it is reported like an error instead."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _send(endpoint: Endpoint, request: urllib.request.Request) -> bytes:
    opener = urllib.request.build_opener(_NoRedirect)
    until = time.monotonic() + endpoint.seconds
    try:
        with opener.open(request, timeout=endpoint.seconds) as response:
            return _read(response, until)
    except urllib.error.HTTPError as error:
        raise ConfigError(_refusal(endpoint, error)) from error
    except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(cause, TimeoutError):
            raise ConfigError(
                f"{endpoint.shown} did not answer within {endpoint.seconds:g} s; try a smaller model, or again later"
            ) from error
        why = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise ConfigError(
            f"{endpoint.shown} cannot be reached ({_first_words(endpoint, why)}); check that it runs, and {URL}"
        ) from error


def _read(response: http.client.HTTPResponse, until: float) -> bytes:
    """The body, piece by piece, since a socket's own limit starts anew with every piece that comes."""
    data = bytearray()
    while piece := response.read1(2**16):
        data += piece
        if time.monotonic() > until:
            raise TimeoutError
        if len(data) > ANSWER_BYTES_MAX:
            raise http.client.HTTPException(f"its answer has more than {ANSWER_BYTES_MAX // 2**20} MiB")
    return bytes(data)


def _refusal(endpoint: Endpoint, error: urllib.error.HTTPError) -> str:
    body = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        body = error.read(4096)
    words = _first_words(endpoint, _message_in(body) or error.reason or "no reason given")
    mend = _MEND.get(error.code, "try again later" if error.code >= 500 else f"check the address in {URL}")
    return f"{endpoint.shown} answered {error.code}: {words}; {mend}"


def _message_in(body: bytes) -> str:
    """What an error's body says: {"error": {"message": ...}} is the protocol's form, others send plain text."""
    text = body.decode("utf-8", "replace")
    with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
        return str(json.loads(text)["error"]["message"])
    return text


def _first_words(endpoint: Endpoint, text: str) -> str:
    """The beginning of a text on one line, fit for a terminal, without the key."""
    hidden = text.replace(endpoint.key, "[key]") if endpoint.key else text
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in hidden).split())
    return line if len(line) <= _WORDS else f"{line[:_WORDS]}..."


def _content(endpoint: Endpoint, body: bytes) -> str:
    """choices[0].message.content of a chat completion."""
    text = body.decode("utf-8", "replace")
    try:
        content = json.loads(text)["choices"][0]["message"]["content"]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        content = None
    if not isinstance(content, str):
        raise ConfigError(
            f"{endpoint.shown} answered no chat completion ({_first_words(endpoint, text) or 'nothing'}); "
            f"check that {URL} is the address of an OpenAI-compatible API"
        )
    return content
