"""Still images: read by PyAV with limits, cropped and resized to what a model takes, written as PNG or JPEG."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from happyhorse.errors import MediaError
from happyhorse.files import whole_file

PIXELS_MAX = 64_000_000
FILE_BYTES_MAX = 256 * 2**20
_IMAGE_FORMATS = ("image2", "gif", "apng", "mjpeg")


def read_image(path: Path | str) -> NDArray[np.uint8]:
    """The picture in a PNG, JPEG, WebP (or other image) file, uint8 [height, width, 3], upright.

    Raises MediaError if the file is missing, too large, damaged, or not an image.
    """
    path = Path(path)
    require_file(path, FILE_BYTES_MAX)
    # Probing and decoding both refuse the pixels themselves: a small file can hold a picture that fills the memory.
    limit = {"max_pixels": str(PIXELS_MAX)}
    try:
        with av.open(str(path), options=limit) as container:
            name = container.format.name
            if not container.streams.video or not (name.endswith("_pipe") or name in _IMAGE_FORMATS):
                raise MediaError(f"{path} is not an image ({container.format.long_name}); give a PNG, JPEG or WebP")
            container.streams.video[0].codec_context.options = limit
            return _upright(next(container.decode(video=0)))
    except (FFmpegError, StopIteration, UnicodeDecodeError) as error:
        raise MediaError(
            f"{path} is not a readable image of at most {PIXELS_MAX // 10**6} megapixels; give a PNG, JPEG or WebP"
        ) from error


def require_file(path: Path, bytes_max: int) -> None:
    """Raises MediaError unless ``path`` is a file of 1 to ``bytes_max`` bytes."""
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; give a file")
        size = path.stat().st_size
    except OSError as error:
        raise MediaError(f"{path} was not found or may not be read; check the path") from error
    if size == 0:
        raise MediaError(f"{path} is empty")
    if size > bytes_max:
        raise MediaError(f"{path} has {size / 2**20:.0f} MiB; the limit is {bytes_max / 2**20:.0f} MiB")


def _upright(frame: VideoFrame) -> NDArray[np.uint8]:
    """The frame as RGB, turned as its orientation tag asks (cameras store portraits lying down)."""
    image = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    return np.ascontiguousarray(np.rot90(image, k=round(frame.rotation / 90) % 4))


def fit_image(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The largest centred crop of ``image`` with the aspect of width x height, resized to it (antialiased bicubic)."""
    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    crop_rows, crop_columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - crop_rows) // 2, (columns - crop_columns) // 2
    crop = torch.from_numpy(image[top : top + crop_rows, left : left + crop_columns].copy())
    pixels = crop.permute(2, 0, 1)[None].float()
    sized = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return sized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()


def write_png(path: Path | str, image: NDArray[np.uint8], overwrite: bool = True) -> None:
    """Writes a uint8 [height, width, 3] image as PNG (RFC 2083). Raises OutputError if it cannot be written."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3, f"not an RGB image: {image.shape}"
    height, width = image.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, no interlace
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + _chunk(b"IEND", b"")
    with whole_file(path, overwrite) as temporary:
        temporary.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def write_jpeg(path: Path | str, image: NDArray[np.uint8], overwrite: bool = True) -> None:
    """Writes a uint8 [height, width, 3] image as JPEG; an odd last row or column is left out. OutputError as above."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_bytes(jpeg(image))


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """A JPEG file of good quality: a tenth of a PNG where a picture is noisy."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = (side - side % 2 for side in image.shape[:2])
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1)
    encoder.qmin, encoder.qmax = 2, 4
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(image[: encoder.height, : encoder.width]), format="rgb24")
    packets = [*encoder.encode(frame.reformat(format="yuvj420p")), *encoder.encode(None)]
    return b"".join(map(bytes, packets))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
