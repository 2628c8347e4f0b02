import struct
import zlib

import av
import numpy as np
import pytest

from happyhorse.codecs import images
from happyhorse.codecs.images import fit_image, read_image, write_png
from happyhorse.codecs.media import write_mp4
from happyhorse.errors import MediaError


def encode(path, codec, pixels, pix_fmt):
    """Writes one frame with any image encoder."""
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream(codec, rate=1)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = pix_fmt
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=pix_fmt)))
        container.mux(stream.encode(None))


def test_png_is_lossless(tmp_path, moving_frames):
    write_png(tmp_path / "a.png", moving_frames[0])
    assert np.array_equal(read_image(tmp_path / "a.png"), moving_frames[0])


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [("a.jpg", "mjpeg", "yuvj420p"), ("a.webp", "libwebp", "yuv420p")]
)
def test_other_formats_are_read(tmp_path, moving_frames, name, codec, pix_fmt):
    encode(tmp_path / name, codec, moving_frames[0], pix_fmt)
    difference = read_image(tmp_path / name).astype(float) - moving_frames[0]
    assert np.sqrt(np.mean(difference**2)) < 8


def test_a_picture_is_cropped_in_the_middle_and_keeps_its_proportions():
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255  # the middle square
    assert (fit_image(image, 32, 32) == 255).all()
    wide = fit_image(image, 32, 96)
    assert wide.shape == (32, 96, 3)
    assert wide[:, 40:56].min() == 255
    assert wide[:, :24].max() == 0


def test_resizing_a_small_checkerboard_averages_it():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert np.abs(fit_image(board, 16, 16)[4:-4, 4:-4].astype(int) - 127).max() <= 12, "aliasing"


def test_files_that_are_no_images(tmp_path, moving_frames):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    write_png(tmp_path / "cut.png", moving_frames[0])
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    write_mp4(tmp_path / "film.png", moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000)
    for name, message in (
        ("missing.png", "not found"),
        ("text.png", "not a readable image"),
        ("empty.png", "is empty"),
        ("cut.png", "not a readable image"),
        ("film.png", "is not an image"),
    ):
        with pytest.raises(MediaError, match=message):
            read_image(tmp_path / name)
    with pytest.raises(MediaError, match="is a folder"):
        read_image(tmp_path)


def test_a_huge_picture_in_a_small_file_is_refused_before_it_is_decoded(tmp_path):
    rows = zlib.compress(bytes(9000 * (1 + 9000 // 8)), 1)  # 81 megapixels of one bit in 50 kB
    header = struct.pack(">IIBBBBB", 9000, 9000, 1, 0, 0, 0, 0)
    body = [images._chunk(kind, data) for kind, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))]
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    with pytest.raises(MediaError, match="64 megapixels"):
        read_image(tmp_path / "huge.png")


def test_a_huge_file_is_refused(tmp_path, monkeypatch, moving_frames):
    write_png(tmp_path / "a.png", moving_frames[0])
    monkeypatch.setattr(images, "FILE_BYTES_MAX", 100)
    with pytest.raises(MediaError, match="the limit is"):
        read_image(tmp_path / "a.png")
