"""A real browser before the real service: Chromium, the application on a free port, a worker in a thread."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
)
WAIT = 30_000
"""Milliseconds that a page is given on a busy machine."""


class NoChromium(Exception):
    """Why there is no browser to test with."""


def require_chromium() -> None:
    """Installs Debian's package if it is missing. Raises NoChromium if that cannot be done."""
    if Path(CHROMIUM).exists():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NoChromium(f"{CHROMIUM} is missing; install it as root: apt-get install chromium")
    print("\nchromium is missing; installing Debian's package, which takes a minute or two ...", flush=True)
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        )
        if done.returncode:
            raise NoChromium(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="module")
def chromium(pytestconfig: pytest.Config) -> Iterator[Any]:
    """The browser; skips, with the reason, if there can be none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright (its browser is not needed)")
    terminal: Any = pytestconfig.pluginmanager.getplugin("capturemanager")
    try:
        with terminal.global_and_fixture_disabled():  # an installation is announced
            require_chromium()
    except NoChromium as reason:
        pytest.skip(str(reason))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Gate:
    """Holds whatever is made at its first step, until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def around(self, maker: Any) -> Any:
        """A maker that waits at the gate and then does what ``maker`` does."""
        gate = self

        class Held:
            def make(self, order: Any, media: Any, progress: Callable[[str, int, int], None]) -> Any:
                while not gate._open.wait(0.05):
                    progress("denoise", 1, 4)
                return maker.make(order, media, progress)

        return Held()


class Studio:
    """A running service."""

    def __init__(self, folder: Path, model: str, **settings: Any) -> None:
        from happyhorse.server.app import create_app
        from happyhorse.server.settings import Settings
        from happyhorse.server.worker import Worker, makers_of

        self.gate, self.port = Gate(), _free_port()
        self.app = create_app(Settings(**{"folder": folder, "port": self.port, "models": (model,), **settings}))
        service = self.service = self.app.state.service
        makers = {
            name: lambda load=load: self.gate.around(load())
            for name, load in makers_of(service.offers, "cpu", service.settings.stub).items()
        }
        self.worker = Worker(service.queue, service.blobs, makers)
        self.url = f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Studio]:
        import uvicorn

        server = uvicorn.Server(
            uvicorn.Config(self.app, port=self.port, log_level="error", timeout_graceful_shutdown=1)
        )
        threads = [threading.Thread(target=run, daemon=True) for run in (server.run, self.worker.run)]
        for thread in threads:
            thread.start()
        try:
            while not server.started:
                assert threads[0].is_alive(), "the server did not start"
                time.sleep(0.02)
            yield self
        finally:
            self.gate.open()
            self.worker.stop()
            server.should_exit = True
            for thread in reversed(threads):
                thread.join(30)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the service's arena, which is not there at first."""
    folder = tmp_path / "arena"
    monkeypatch.setenv("HAPPYHORSE_ARENA", str(folder))
    return folder


@pytest.fixture
def serve(tmp_path: Path, tiny_model: Path, arena: Path) -> Iterator[Callable[..., Studio]]:
    """Starts a service with these settings; its model is the tiny one unless they name another."""
    with contextlib.ExitStack() as stack:

        def start(model: str = str(tiny_model), **settings: Any) -> Studio:
            return stack.enter_context(Studio(tmp_path / "service", model, **settings).running())

        yield start


@pytest.fixture
def studio(serve: Callable[..., Studio]) -> Studio:
    """A service whose clips are made at once, without a model."""
    return serve(stub=True)


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a browser profile of its own: ``visit(url, **options)``. At the end no page may have met the
    content security policy, made a mistake of its own, or asked anything of another server."""
    found: list[str] = []
    with contextlib.ExitStack() as stack:

        def open_page(url: str, **options: Any) -> Any:
            context = stack.enter_context(
                chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
            )
            context.set_default_timeout(WAIT)
            page = context.new_page()
            page.on("pageerror", lambda error: found.append(f"page error: {error}"))
            page.on("console", lambda said: found.append(said.text) if "Content Security" in said.text else None)
            page.on("request", lambda asked: None if _is_at(asked.url, url) else found.append(f"asked {asked.url}"))
            page.goto(url)
            return page

        yield open_page
    assert not found


def _is_at(url: str, page: str) -> bool:
    origin = "/".join(page.split("/")[:3])
    return url.removeprefix("blob:").startswith((origin, "data:"))
