import io

import numpy as np
import pytest

from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import write_wav
from happyhorse.errors import ConfigError, HappyhorseError, MediaError, OutputError
from happyhorse.server.uploads import Incoming, UploadLimits, accept, recognised

LIMITS = UploadLimits(image_bytes=10_000, audio_bytes=20_000)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "picture.exe"
    write_png(path, np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


class Endless(io.RawIOBase):
    """A stream of PNG heads that counts what is read."""

    taken = 0

    def readable(self):
        return True

    def read(self, size=-1):
        assert size > 0, "all at once"
        self.taken += size
        return (b"\x89PNG\r\n\x1a\n" + bytes(size))[:size]


@pytest.mark.parametrize("give", [bytes, io.BytesIO, lambda data: (data[i : i + 7] for i in range(0, len(data), 7))])
def test_a_file_that_comes_in_any_way(png, folder, give):
    upload = accept(give(png), "image", LIMITS, folder)
    assert upload.path.read_bytes() == png
    assert (upload.kind, upload.format, upload.media_type, upload.bytes) == ("image", "png", "image/png", len(png))
    assert upload.path.parent == folder
    assert upload.path.suffix == ""
    assert upload.path.stat().st_mode & 0o077 == 0


def test_an_open_file_is_read(png, folder, tmp_path):
    with (tmp_path / "picture.exe").open("rb") as file:
        assert accept(file, "image", LIMITS, folder).bytes == len(png)


def test_the_size_is_bounded_exactly(png, folder):
    assert accept(png, "image", LIMITS.replace(image_bytes=len(png)), folder).bytes == len(png)
    with pytest.raises(MediaError, match="the image has more than .* MiB, which is the limit"):
        accept(png, "image", LIMITS.replace(image_bytes=len(png) - 1), folder)
    assert len(list(folder.iterdir())) == 1


def test_what_does_not_end_is_not_read_to_its_end(folder):
    stream = Endless()
    with pytest.raises(MediaError, match="which is the limit"):
        accept(stream, "image", LIMITS.replace(image_bytes=10**6), folder)
    assert stream.taken < 2 * 10**6
    assert list(folder.iterdir()) == []


def test_what_can_be_nothing_good_is_refused_from_its_first_bytes(folder):
    def stream():
        yield b"<html>" + b" " * 40
        yield b" " * 40
        raise AssertionError("read on")

    with pytest.raises(MediaError, match="no format that is taken; give png, jpeg or webp"):
        accept(stream(), "image", LIMITS, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("source", [b"", io.BytesIO(b""), []])
def test_nothing_at_all(folder, source):
    with pytest.raises(MediaError, match="the audio is empty"):
        accept(source, "audio", LIMITS, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("data", [b"x", b"\x89PNG\r\n\x1a", b"GIF89a" * 100, b"ID3" + b"\x00" * 100])
def test_other_files_leave_nothing(folder, data):
    for kind in ("image", "audio", "video"):
        with pytest.raises(MediaError, match="no format that is taken"):
            accept(data, kind, LIMITS, folder)
    assert list(folder.iterdir()) == []


def test_a_good_file_of_another_kind(png, folder):
    with pytest.raises(MediaError, match="sent as a video"):
        accept(png, "video", LIMITS, folder)


def test_a_stream_that_breaks_leaves_nothing(png, folder):
    def broken():
        yield png[:100]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        accept(broken(), "image", LIMITS, folder)
    assert list(folder.iterdir()) == []


def test_a_full_disk_leaves_nothing(png, folder, disk_of):
    with pytest.raises(OutputError, match="no space left"), disk_of(100):
        accept(png, "image", LIMITS, folder)
    assert list(folder.iterdir()) == []


def test_blocks_may_be_pushed(png, folder):
    with Incoming("image", LIMITS, folder) as incoming:
        for start in range(0, len(png), 100):
            incoming.write(png[start : start + 100])
        upload = incoming.finish()
    assert upload.path.read_bytes() == png
    with Incoming("image", LIMITS, folder) as incoming:
        incoming.write(png)
    assert list(folder.iterdir()) == [upload.path], "never finished, so never come"


def test_a_file_that_is_here_already(tmp_path):
    write_wav(tmp_path / "a.png", np.zeros((1, 100), np.float32), 24_000)
    assert recognised(tmp_path / "a.png", "audio").name == "wav"
    with pytest.raises(MediaError):
        recognised(tmp_path / "a.png", "image")


def test_each_kind_has_its_size():
    assert [LIMITS.bytes_max(kind) for kind in ("image", "audio")] == [10_000, 20_000]
    for name in LIMITS.to_dict():
        with pytest.raises(ConfigError, match=f"{name} is 0; it must be more than 0"):
            LIMITS.replace(**{name: 0})


def test_errors_say_nothing_of_this_machine(folder):
    for data in (b"", b"x", bytes(50_000)):
        with pytest.raises(HappyhorseError) as refusal:
            accept(data, "image", LIMITS, folder)
        assert str(folder) not in str(refusal.value)
