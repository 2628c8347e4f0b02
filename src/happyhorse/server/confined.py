"""The process that decodes files: ``python -m happyhorse.server.confined DESCRIPTOR``, started by ``inspection``.

It loads the decoders once and then copies itself (fork) for each file. The copy gives up what it does not need,
decodes, writes a line of JSON to the pipe that came with the request, and is gone: a decoder that crashes or hangs ends
with it. What a copy may not do: take more time or memory than the limits say, write files, dump core.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from happyhorse.errors import MediaError
from happyhorse.server.inspection import Facts
from happyhorse.server.uploads import UploadLimits

Decode = Callable[[Path, str, UploadLimits], Facts]
_OPEN_FILES = 64
_PROCESSORS = 2
_REQUEST_MAX = 65_536


def main(decode: Decode | None = None) -> None:
    """Serves requests that come through the socket of the number in ``sys.argv[1]`` until its other side is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the copies; their pipes say when they end
    if decode is None:
        from happyhorse.server.decoding import decode
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_MAX, 1)
        if not request:
            return
        while not request.endswith(b"\n"):
            rest = control.recv(_REQUEST_MAX)
            if not rest:  # whoever asked is gone in mid-sentence
                return
            request += rest
        if os.fork() == 0:
            control.close()  # the next requests are not this copy's
            _answer(decode, json.loads(request), descriptors[0])
        os.close(descriptors[0])


def _answer(decode: Decode, request: dict[str, Any], descriptor: int) -> None:
    """The life of a copy."""
    try:
        limits = UploadLimits.from_dict(request["limits"])
        confine(limits)
        os.write(descriptor, json.dumps(decoded(decode, Path(request["path"]), request["kind"], limits)).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def decoded(decode: Decode, path: Path, kind: str, limits: UploadLimits) -> dict[str, Any]:
    """{"facts": ...}, or {"refused": why}, without the path."""
    try:
        return {"facts": dataclasses.asdict(decode(path, kind, limits))}
    except (MediaError, MemoryError) as error:
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            size = f"{limits.decode_memory / 2**20:g} MiB"
            return {"refused": f"the {kind} takes more than {size} to decode, which is the limit; send a smaller one"}
        return {"refused": str(error).replace(str(path), f"the {kind}")}


def confine(limits: UploadLimits) -> None:
    """Gives up, for good, what decoding does not need. Threads that decoders start share the limits."""
    seconds = max(1, round(limits.decode_seconds))
    memory = _data_bytes() + limits.decode_memory
    for kind, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    if hasattr(os, "sched_setaffinity"):
        # Decoders start a thread for each processor, and each thread takes memory.
        processors = sorted(os.sched_getaffinity(0))
        first = os.getpid() % len(processors)
        os.sched_setaffinity(0, (processors[first:] + processors[:first])[:_PROCESSORS])
    # A decoder that hangs does not let Python's own handlers run: the kernel ends it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.decode_seconds)


def _data_bytes() -> int:
    """Memory that this process holds already, as the kernel counts it for RLIMIT_DATA."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
