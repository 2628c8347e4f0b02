"""Files that come in with requests: bounded while they come, and recognised by what they are.

``accept`` takes the bytes; ``inspection`` then decodes the file where that can do no harm.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from happyhorse.config import Config
from happyhorse.errors import ConfigError, MediaError
from happyhorse.server.arrivals import Arrival
from happyhorse.server.signatures import HEAD_BYTES, KINDS, Format, plausible, recognise, unknown_format

_BLOCK = 65_536


@dataclasses.dataclass(frozen=True)
class UploadLimits(Config):
    """How much may come in, and what decoding it may take."""

    image_bytes: int = 32 * 2**20
    audio_bytes: int = 64 * 2**20
    video_bytes: int = 512 * 2**20
    pixels: int = 36_000_000
    """Of an image, or of a frame."""
    seconds: float = 60.0
    """Of sound or video."""
    decode_memory: int = 3 * 2**30
    """Bytes that decoding may take; a video takes about six for each pixel of all its frames."""
    decode_seconds: float = 60.0
    """That decoding may take, of a processor's time and of the clock's."""

    def __post_init__(self) -> None:
        for name, value in self.to_dict().items():
            if not value > 0:
                raise ConfigError(f"{name} is {value}; it must be more than 0")

    def bytes_max(self, kind: str) -> int:
        assert kind in KINDS, kind
        return getattr(self, f"{kind}_bytes")


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file that came in whole. It is the caller's to move or remove."""

    path: Path
    kind: str
    format: str
    media_type: str
    """Of what the file is, whatever was said."""
    bytes: int


class Incoming:
    """A file that comes block by block: ``with Incoming(...) as incoming``, ``write`` each, then ``finish``.

    Whatever ends the block before ``finish`` leaves no file.
    """

    def __init__(self, kind: str, limits: UploadLimits, folder: Path | None = None) -> None:
        self._kind, self._bytes_max = kind, limits.bytes_max(kind)
        self._head = b""
        self._arrival = Arrival(folder, "upload-")
        self._finished = False

    def write(self, block: bytes) -> None:
        """Raises MediaError as soon as the file is too large or cannot be of a format that is taken."""
        if self._arrival.bytes + len(block) > self._bytes_max:
            raise MediaError(f"the {self._kind} has more than {self._bytes_max / 2**20:g} MiB, which is the limit")
        if len(self._head) < HEAD_BYTES:
            self._head += block[: HEAD_BYTES - len(self._head)]
            if len(self._head) == HEAD_BYTES and plausible(self._head, self._kind) is None:
                raise unknown_format(self._kind)
        self._arrival.write(block)

    def finish(self) -> Upload:
        """The whole file. Raises MediaError if it is empty or of no format that is taken."""
        if not self._arrival.bytes:
            raise MediaError(f"the {self._kind} is empty; send a file")
        self._arrival.close()
        form = recognised(self._arrival.path, self._kind)
        self._finished = True
        return Upload(self._arrival.path, self._kind, form.name, form.media_types[0], self._arrival.bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self._arrival.discard()


def accept(
    source: bytes | BinaryIO | Iterable[bytes], kind: str, limits: UploadLimits, folder: Path | None = None
) -> Upload:
    """Takes a file of ``kind`` (image, audio, video) into a new file in ``folder``.

    Raises MediaError if it is empty, too large, or in no format that is taken; OutputError if it cannot be written.
    Then no file is left, and no more than the limit was kept.
    """
    with Incoming(kind, limits, folder) as incoming:
        for block in _blocks(source):
            incoming.write(block)
        return incoming.finish()


def recognised(path: Path, kind: str) -> Format:
    """The format of a file that is here already, such as a fetched one. Raises MediaError if it is not taken."""
    with path.open("rb") as file:
        return recognise(file, kind)


def _blocks(source: bytes | BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    if isinstance(source, bytes):
        return iter([source] if source else [])
    read = getattr(source, "read", None)
    return iter(source) if read is None else iter(lambda: read(_BLOCK), b"")
