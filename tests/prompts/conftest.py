"""A chat endpoint on this machine that gives the answers it was told to give."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from happyhorse.prompts.endpoint import Endpoint


class Played(ThreadingHTTPServer):
    """``answers`` are taken in turn: a string is a model's answer, bytes a whole body, (status, body) an error, and a
    function is called with the handler."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[str | bytes | tuple[int, bytes] | Callable[[Handler], None]] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def endpoint(self, key: str = "", seconds: float = 10.0) -> Endpoint:
        return Endpoint(self.url, "little", key, seconds)


class Handler(BaseHTTPRequestHandler):
    server: Played

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        answer = self.server.answers.pop(0)
        if callable(answer):
            answer(self)
        elif isinstance(answer, str):
            self.reply(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": answer}}]}).encode())
        elif isinstance(answer, bytes):
            self.reply(200, answer)
        else:
            self.reply(*answer)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    """A running endpoint; proxies of the environment are left aside."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Played() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()
