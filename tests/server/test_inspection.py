import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import write_mp4, write_wav
from happyhorse.errors import MediaError
from happyhorse.server.inspection import Facts, Inspector, inspect
from happyhorse.server.uploads import UploadLimits, accept

TROUBLE = """
import ctypes, os, sys, time
from happyhorse.errors import MediaError
from happyhorse.server import confined
from happyhorse.server.inspection import Facts

def decode(path, kind, limits):
    "Does what the end of the file asks for."
    wish = path.read_bytes().rpartition(b"|")[2].decode()
    if wish == "crash":
        ctypes.string_at(0)
    if wish == "hang":
        while True:
            time.sleep(1)
    if wish == "spin":
        while True:
            pass
    if wish == "memory":
        held = []
        while True:
            held.append(bytearray(2**24))
    if wish == "bug":
        raise KeyError("internal")
    if wish == "exit":
        sys.exit(3)
    if wish == "environment":
        return Facts(",".join(sorted(os.environ)))
    return Facts(kind, seconds=float(os.getpid()))

confined.main(decode)
"""


@pytest.fixture(scope="module")
def inspector():
    with Inspector(UploadLimits(pixels=10_000, seconds=2.0, decode_memory=256 * 2**20)) as inspector:
        yield inspector


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("trouble") / "trouble.py"
    path.write_text(TROUBLE)
    return [sys.executable, str(path)]


@pytest.fixture
def troubled(program):
    limits = UploadLimits(decode_seconds=2.0, decode_memory=100 * 2**20)
    with Inspector(limits, at_once=4, program=program) as inspector:
        yield inspector


@pytest.fixture
def ask(tmp_path):
    """A file that asks the troubled decoder for something."""

    def file(wish):
        path = tmp_path / wish
        path.write_bytes(b"\x89PNG\r\n\x1a\n|" + wish.encode())
        return path

    return file


# ---------------------------------------------------------------------------------------------------- the real decoders
def test_what_came_in_is_looked_into(inspector, tmp_path, moving_frames):
    write_png(tmp_path / "a", moving_frames[0])
    upload = accept((tmp_path / "a").read_bytes(), "image", UploadLimits(), tmp_path)
    assert inspector.inspect(upload.path, upload.kind) == Facts("image", 96, 64, 1)
    write_wav(tmp_path / "b", np.zeros((1, 24_000), np.float32), 24_000)
    assert inspector.inspect(tmp_path / "b", "audio") == Facts("audio", seconds=1.0, sample_rate=24_000)
    write_mp4(tmp_path / "c", moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000)
    facts = inspector.inspect(tmp_path / "c", "video")
    assert (facts.pixels, facts.frames, facts.fps, facts.sample_rate) == (6144, 12, 24.0, 24_000)


def test_limits_are_named_and_paths_are_not(inspector, tmp_path, moving_frames):
    write_png(tmp_path / "large", np.zeros((101, 100, 3), np.uint8))
    write_wav(tmp_path / "long", np.zeros((1, 72_000), np.float32), 24_000)
    (tmp_path / "damaged").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 1000)
    said = {}
    for name, kind in (("large", "image"), ("long", "audio"), ("damaged", "image"), ("long", "video")):
        with pytest.raises(MediaError) as refusal:
            inspector.inspect(tmp_path / name, kind)
        said[name, kind] = str(refusal.value)
        assert str(tmp_path) not in str(refusal.value)
    assert said["large", "image"] == "the image is 100x101; the limit is 10,000 pixels: scale it down"
    assert said["long", "audio"] == "the audio lasts 3.0 s; the limit is 2 s: cut it first"
    assert said["damaged", "image"].startswith("the image is ")
    assert said["long", "video"].startswith("what was sent as a video is in no format that is taken")


def test_one_file_alone(tmp_path, moving_frames):
    write_png(tmp_path / "a", moving_frames[0])
    assert inspect(tmp_path / "a", "image") == Facts("image", 96, 64, 1)


def test_the_server_itself_loads_no_decoder():
    program = "import sys, happyhorse.server.inspection; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"av", "torch", "numpy"} & set(loaded)


# --------------------------------------------------------------------------------------------------- decoders that fail
@pytest.mark.parametrize("wish", ["crash", "hang", "spin", "bug", "exit"])
def test_a_decoder_that_fails_ends_only_its_own_process(troubled, ask, wish):
    before = troubled.inspect(ask("good"), "image")
    with pytest.raises(MediaError) as refusal:
        troubled.inspect(ask(wish), "image")
    assert str(refusal.value) == ("the image could not be decoded: it is damaged, or takes more than 2 s or 100 MiB")
    after = troubled.inspect(ask("good"), "image")
    assert before.kind == after.kind == "image"
    assert before.seconds != after.seconds, "each file has a process of its own"


def test_a_decoder_that_takes_all_memory_gets_little(troubled, ask):
    with pytest.raises(MediaError, match="takes more than 100 MiB to decode, which is the limit"):
        troubled.inspect(ask("memory"), "image")


def test_others_do_not_wait_for_one_that_hangs(troubled, ask):
    def hang():
        with pytest.raises(MediaError):
            troubled.inspect(ask("hang"), "image")

    hanging = threading.Thread(target=hang)
    good = ask("good")
    troubled.inspect(good, "image")
    hanging.start()
    for _ in range(3):
        troubled.inspect(good, "image")
    assert hanging.is_alive()
    hanging.join()


def test_no_secret_of_the_server_is_in_reach(troubled, ask, monkeypatch):
    monkeypatch.setenv("HAPPYHORSE_PEPPER", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    names = troubled.inspect(ask("environment"), "image").kind.split(",")
    assert "PATH" in names
    assert not {"HAPPYHORSE_PEPPER", "AWS_SECRET_ACCESS_KEY"} & set(names)


def test_if_the_process_dies_another_takes_its_place(troubled, ask):
    troubled.inspect(ask("good"), "image")
    first = troubled._process
    first.kill()
    first.wait()
    assert troubled.inspect(ask("good"), "image").kind == "image"
    assert troubled._process.pid != first.pid


def test_closing_ends_the_process(program, ask):
    inspector = Inspector(program=program)
    inspector.inspect(ask("good"), "image")
    process = inspector._process
    inspector.close()
    inspector.close()
    assert process is not None and process.returncode is not None


def test_many_threads_and_no_descriptor_is_left_open(troubled, ask):
    good = ask("good")
    troubled.inspect(good, "image")
    before, results = len(os.listdir("/proc/self/fd")), []

    def work():
        for _ in range(5):
            results.append(troubled.inspect(good, "image").kind)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["image"] * 40
    assert len(os.listdir("/proc/self/fd")) <= before
