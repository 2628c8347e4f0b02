"""Keeps a worker process running on every device: started with the server, restarted when it ends, stopped with it.

It is the default engine (see ``engines``); with Ray its one program is the foreman.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from happyhorse.errors import ConfigError
from happyhorse.server.settings import Settings

RESTART_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait before the first restart in a row, the second, ..."""
STEADY_SECONDS = 60.0
"""A worker that ran for so long is restarted at once."""
_LOOK_EVERY = 0.2
log = logging.getLogger("happyhorse.supervisor")


def devices_of(settings: Settings) -> tuple[str, ...]:
    """The devices that workers are started on. Raises ConfigError for one that this machine does not have."""
    if settings.workers == ("none",):
        return ()
    if settings.workers != ("auto",):
        for device in () if settings.stub else settings.workers:
            _require(device)
        return settings.workers
    import torch

    found = tuple(f"cuda:{number}" for number in range(torch.cuda.device_count())) if torch.cuda.is_available() else ()
    return found if found and not settings.stub else ("cpu",)


def _require(device: str) -> None:
    """Looks for a device without using it, as the memory that this takes is its worker's."""
    import torch

    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"worker {device!r} is no device; give cpu, cuda:0, cuda:1, ...") from error
    there = torch.cuda.device_count()
    if asked.type == "cuda" and (asked.index or 0) >= there:
        raise ConfigError(f"worker {device!r} has no device: CUDA devices here: {there}; give others, or cpu")


@dataclasses.dataclass
class Slot:
    """A program that should run."""

    device: str
    process: subprocess.Popen | None = None
    begun_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    """Ends in a row."""


def worker_program(device: str) -> tuple[str, ...]:
    """The module of a worker, and its arguments."""
    return "happyhorse.server.worker", "--device", device


class Supervisor:
    """Starts and restarts the workers of a server; a thread of its own looks after them."""

    def __init__(
        self,
        settings: Settings,
        devices: Sequence[str] | None = None,
        *,
        program: Callable[[str], Sequence[str]] = worker_program,
        stop_seconds: float | None = None,
    ) -> None:
        """``program``: what runs on a device; ``stop_seconds``: how long it is given to stop, if not as the settings
        say."""
        found = devices_of(settings) if devices is None else devices
        self._settings, self._program = settings, program
        self._stop_seconds = settings.stop_seconds if stop_seconds is None else stop_seconds
        self._slots = [Slot(device) for device in found]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        for slot in self._slots:
            self._start(slot)
        self._thread.start()

    def stop(self) -> None:
        """Asks all workers to stop at their next step, and ends those that have not in time."""
        self._stopping.set()
        self._thread.join()
        running = [slot.process for slot in self._slots if slot.process and slot.process.poll() is None]
        for process in running:
            process.terminate()
        until = time.monotonic() + self._stop_seconds
        for process in running:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                said = "process %d did not stop in %g s; its job will be taken up again"
                log.warning(said, process.pid, self._stop_seconds)
                process.kill()
                process.wait()

    @property
    def where(self) -> str:
        """Where the workers are, for people."""
        return ", ".join(slot.device for slot in self._slots) or "other machines"

    @property
    def pids(self) -> list[int]:
        """Of the workers that run."""
        return [slot.process.pid for slot in self._slots if slot.process and slot.process.poll() is None]

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY):
            for slot in self._slots:
                self._look_after(slot, time.monotonic())

    def _look_after(self, slot: Slot, now: float) -> None:
        if slot.process is not None:
            code = slot.process.poll()
            if code is None:
                return
            slot.failures = 0 if now - slot.begun_at > STEADY_SECONDS else slot.failures + 1
            wait = RESTART_SECONDS[min(slot.failures, len(RESTART_SECONDS) - 1)]
            log.warning("the program on %s ended with %d; it starts again in %g s", slot.device, code, wait)
            slot.process, slot.due_at = None, now + wait
        if now >= slot.due_at:
            self._start(slot)

    def _start(self, slot: Slot) -> None:
        command = [sys.executable, "-m", *self._program(slot.device), "--parent", str(os.getpid())]
        # Its own session: Ctrl-C reaches the server alone, which then stops its workers in order.
        slot.process = subprocess.Popen(command, env=worker_environment(self._settings), start_new_session=True)
        slot.begun_at = time.monotonic()


def worker_environment(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Variables of a worker: those of the server, with its settings."""
    own = dict(os.environ if environment is None else environment)
    # With active waiting, one busy neighbour makes a forward pass on two cores ten times slower.
    return {"OMP_WAIT_POLICY": "PASSIVE", **own, **settings.environment()}


def stop_without(parent: int, stop: Callable[[], None]) -> None:
    """Watches from a thread that the server is there: one that was killed leaves no program behind."""
    threading.Thread(target=_watch_parent, args=(parent, stop), name="parent", daemon=True).start()


def _watch_parent(parent: int, stop: Callable[[], None]) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    log.warning("the server is gone; stopping")
    stop()
