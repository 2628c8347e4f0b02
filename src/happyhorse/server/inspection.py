"""What a file from outside holds, found by decoding it in a process of its own that has little time and memory.

The process is ``confined``, what it does is ``decoding``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from happyhorse.config import Config
from happyhorse.errors import MediaError
from happyhorse.server.uploads import UploadLimits, recognised

_BLOCK = 65_536
_ANSWER_MAX = 65_536
_GRACE = 10.0
"""Seconds beyond a decoder's own limit after which it is taken for lost."""
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
_PROGRAM = (sys.executable, "-P", "-m", "happyhorse.server.confined")


@dataclasses.dataclass(frozen=True)
class Facts(Config):
    """What a file holds, found by decoding all of it."""

    kind: str
    width: int = 0
    height: int = 0
    frames: int = 0
    fps: float = 0.0
    seconds: float = 0.0
    sample_rate: int = 0
    """0 if there is no sound."""

    @property
    def pixels(self) -> int:
        return self.width * self.height


class Inspector:
    """A process that has the decoders loaded and copies itself for each file: ``with Inspector() as inspector``.

    Safe to share between threads; ``at_once`` files are decoded at the same time, others wait. It is started ahead or
    with the first file, starts again if it dies, knows nothing of this process's environment, and ends with this
    process.
    """

    def __init__(self, limits: UploadLimits | None = None, at_once: int = 2, program: Sequence[str] = _PROGRAM) -> None:
        self.limits = limits or UploadLimits()
        self._program = tuple(program)
        self._turns = threading.BoundedSemaphore(at_once)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def inspect(self, path: Path, kind: str) -> Facts:
        """What the file holds, decoded whole.

        Raises MediaError naming the limit that it breaks, or saying that it cannot be decoded: also if a decoder
        crashes, hangs or takes too much memory, which ends only its own process.
        """
        recognised(path, kind)
        request = {"path": str(path.absolute()), "kind": kind, "limits": self.limits.to_dict()}
        with self._turns:
            answer = self._ask(json.dumps(request).encode() + b"\n")
        if "facts" in answer:
            return Facts.from_dict(answer["facts"])
        raise MediaError(answer.get("refused") or self._silent(kind))

    def start(self) -> None:
        """Starts the process, so that the first file does not wait for it to load. Does nothing if it runs."""
        with self._lock:
            if self._control is None:
                self._control = self._start()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _silent(self, kind: str) -> str:
        seconds, memory = self.limits.decode_seconds, f"{self.limits.decode_memory / 2**20:g} MiB"
        return f"the {kind} could not be decoded: it is damaged, or takes more than {seconds:g} s or {memory}"

    def _ask(self, request: bytes) -> dict[str, Any]:
        """The answer of the process made for this request; {} if it died without one."""
        reader, writer = os.pipe()
        with open(reader, "rb", buffering=0) as answers:
            try:
                self._send(request, writer)
            finally:
                os.close(writer)  # so that the pipe ends when the other side does
            data = _read_all(answers, self.limits.decode_seconds + _GRACE)
        with contextlib.suppress(ValueError):
            return json.loads(data)
        return {}

    def _send(self, request: bytes, descriptor: int) -> None:
        with self._lock:
            if self._control is not None:
                with contextlib.suppress(OSError):
                    socket.send_fds(self._control, [request], [descriptor])
                    return
            self._stop()  # it died since the last file
            self._control = self._start()
            socket.send_fds(self._control, [request], [descriptor])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [*self._program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for us; it ends when our end of the connection is gone
            )
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def inspect(path: Path, kind: str, limits: UploadLimits | None = None) -> Facts:
    """``Inspector.inspect`` for a single file: it starts a process, which takes seconds."""
    with Inspector(limits) as inspector:
        return inspector.inspect(path, kind)


def _read_all(answers: Any, seconds: float) -> bytes:
    """What comes out of a pipe until its other side is closed, or has been silent for ``seconds``."""
    data = b""
    while len(data) < _ANSWER_MAX:
        ready, _, _ = select.select([answers], [], [], seconds)
        block = answers.read(_BLOCK) if ready else b""
        if not block:
            break
        data += block
    return data
