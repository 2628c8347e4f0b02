import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from happyhorse.errors import MediaError
from happyhorse.server.confined import confine, decoded
from happyhorse.server.inspection import Facts
from happyhorse.server.uploads import UploadLimits

LIMITS = UploadLimits(decode_memory=64 * 2**20, decode_seconds=30.0)
FACTS = Facts("image", 96, 64, 1)


def in_a_copy(work) -> Any:
    """What ``work`` returns, as JSON, in a fork of this process; or minus the signal that ended it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answers:
        answer = answers.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(answer) if answer else -os.WTERMSIG(status)


def confined(work, limits=LIMITS) -> Any:
    def run():
        confine(limits)
        return work()

    return in_a_copy(run)


def test_what_a_copy_says(tmp_path):
    def refuse(*_):
        raise MediaError(f"{tmp_path} is damaged")

    assert decoded(lambda *_: FACTS, tmp_path, "image", LIMITS) == {"facts": FACTS.to_dict()}
    assert decoded(refuse, tmp_path, "image", LIMITS) == {"refused": "the image is damaged"}


@pytest.mark.parametrize("cause", [True, False])
def test_a_decoder_without_memory_is_said_to_be_so(tmp_path, cause):
    def fail(*_):
        if not cause:
            raise MemoryError
        try:
            raise MemoryError
        except MemoryError as error:
            raise MediaError("damaged") from error

    refused = decoded(fail, tmp_path, "video", LIMITS)["refused"]
    assert refused == "the video takes more than 64 MiB to decode, which is the limit; send a smaller one"


def test_memory_is_bounded_beyond_what_is_held_already():
    def fill():
        # Mapped, not allocated: a heap that this process grew before may have room to give again.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        held = [mmap.mmap(-1, 40 * 2**20, flags=private)]
        try:
            held.append(mmap.mmap(-1, 40 * 2**20, flags=private))
        except OSError as error:
            return [len(held), error.strerror]

    assert confined(fill) == [1, "Cannot allocate memory"]


def test_files_are_not_written(tmp_path):
    def write():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            (tmp_path / "x").write_bytes(b"x")
        except OSError as error:
            return error.strerror

    assert confined(write) == "File too large"
    assert (tmp_path / "x").read_bytes() == b""


def test_work_without_end_is_ended_by_the_kernel():
    def spin():
        while True:
            pass

    assert confined(spin, LIMITS.replace(decode_seconds=0.3)) == -signal.SIGALRM


def test_limits_cannot_be_widened_again():
    def widen():
        confine(LIMITS.replace(decode_memory=2**40, decode_seconds=1000.0))
        return [resource.getrlimit(kind) for kind in (resource.RLIMIT_DATA, resource.RLIMIT_CPU, resource.RLIMIT_CORE)]

    memory, processor, core = confined(widen)
    assert memory[1] < 2**36 and processor == [30, 30] and core == [0, 0]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not assign processors")
def test_few_processors_are_used():
    assert 1 <= confined(lambda: len(os.sched_getaffinity(0))) <= 2


def test_the_process_ends_when_its_owner_is_gone():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        program = "from happyhorse.server.confined import main; main(lambda *_: None)"
        number = str(theirs.fileno())
        process = subprocess.Popen([sys.executable, "-c", program, number], pass_fds=[theirs.fileno()])
    assert process.wait(timeout=60) == 0


def test_a_request_that_breaks_off_ends_the_process() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    program = "from happyhorse.server import confined; confined.main(lambda *file: None)"
    with theirs:
        child = subprocess.Popen([sys.executable, "-c", program, str(theirs.fileno())], pass_fds=[theirs.fileno()])
    reader, writer = os.pipe()
    socket.send_fds(ours, [b'{"path": "/tmp/a'], [writer])
    ours.close()
    try:
        assert child.wait(60) == 0
    finally:
        child.kill()
        os.close(reader), os.close(writer)
