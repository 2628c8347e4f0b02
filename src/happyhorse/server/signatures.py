"""What a file is by its first bytes: names and declared types are never believed.

The formats on this list, and no others, are read from outside.
"""

from __future__ import annotations

import dataclasses
from typing import BinaryIO

from happyhorse.errors import MediaError

KINDS = ("image", "audio", "video")
HEAD_BYTES = 64
"""As many first bytes settle what a file may be."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format that may come in."""

    name: str
    kind: str
    """image, audio or video."""
    media_types: tuple[str, ...]
    """The usual one first, then others that servers send for it."""
    demuxers: tuple[str, ...]
    """What FFmpeg calls it."""


_ISO = ("mov",)
_FORMATS = (
    Format("png", "image", ("image/png",), ("png_pipe", "apng")),
    Format("jpeg", "image", ("image/jpeg", "image/jpg"), ("jpeg_pipe",)),
    Format("webp", "image", ("image/webp",), ("webp_pipe",)),
    Format("wav", "audio", ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"), ("wav",)),
    Format("mp3", "audio", ("audio/mpeg", "audio/mp3"), ("mp3",)),
    Format("m4a", "audio", ("audio/mp4", "audio/m4a", "audio/x-m4a"), _ISO),
    Format("aac", "audio", ("audio/aac", "audio/x-aac", "audio/aacp"), ("aac",)),
    Format("flac", "audio", ("audio/flac", "audio/x-flac"), ("flac",)),
    Format("ogg", "audio", ("audio/ogg", "application/ogg", "audio/opus"), ("ogg",)),
    Format("mp4", "video", ("video/mp4", "video/x-m4v"), _ISO),
    Format("webm", "video", ("video/webm",), ("webm",)),
    Format("mov", "video", ("video/quicktime",), _ISO),
)
_BRANDS = {
    **dict.fromkeys((b"M4A ", b"M4B "), ("m4a",)),
    b"qt  ": ("mov",),
    # General brands do not say whether there is a picture. Those of still images (heic, avif) are not here.
    **dict.fromkeys((b"isom", b"mp41", b"mp42", b"avc1", b"M4V ", b"MSNV", b"dash"), ("mp4", "m4a")),
    **dict.fromkeys((b"iso%d" % version for version in range(2, 10)), ("mp4", "m4a")),
}


def formats(kind: str) -> tuple[Format, ...]:
    """The formats of a kind."""
    assert kind in KINDS, kind
    return tuple(form for form in _FORMATS if form.kind == kind)


def media_types(*kinds: str) -> tuple[str, ...]:
    """What servers may say a file of these kinds is."""
    return tuple(name for kind in kinds for form in formats(kind) for name in form.media_types)


def plausible(head: bytes, kind: str) -> Format | None:
    """The format that a file of this ``kind`` has if it begins with ``head`` (``HEAD_BYTES``, or the whole file)."""
    names = _names(head)
    return next((form for form in formats(kind) if form.name in names), None)


def recognise(file: BinaryIO, kind: str) -> Format:
    """The format of a whole file. Raises MediaError if it is not one that is taken for this kind.

    Unlike ``plausible`` it looks behind an ID3 tag, which may stand before anything.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if head[:3] == b"ID3":
        file.seek(_tag_bytes(head))
        head = file.read(HEAD_BYTES)
        found = plausible(head, kind) if head[:3] != b"ID3" else None
        found = found if found and found.name in ("mp3", "aac") else None
    else:
        found = plausible(head, kind)
    if found is None:
        raise unknown_format(kind)
    return found


def unknown_format(kind: str) -> MediaError:
    names = [form.name for form in formats(kind)]
    article = "an" if kind[0] in "aeiou" else "a"
    return MediaError(
        f"what was sent as {article} {kind} is in no format that is taken; give {', '.join(names[:-1])} or {names[-1]}"
    )


def _names(head: bytes) -> tuple[str, ...]:
    """Names of the formats that begin so."""
    if head[:4] == b"RIFF":
        return {b"WAVE": ("wav",), b"WEBP": ("webp",)}.get(head[8:12], ())
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ())
    if head[:4] == b"\x1a\x45\xdf\xa3":  # EBML; the name of the document type follows its code and length
        return ("webm",) if b"\x42\x82\x84webm" in head else ()
    if head[:2] and head[0] == 0xFF:
        return _after_sync(head)
    plain = {
        b"\x89PNG\r\n\x1a\n": ("png",),
        b"fLaC": ("flac",),
        b"OggS\x00": ("ogg",),
        b"ID3": ("mp3", "aac"),
    }
    return next((names for magic, names in plain.items() if head.startswith(magic)), ())


def _after_sync(head: bytes) -> tuple[str, ...]:
    """JPEG, or the head of an ADTS (ISO 13818-7) or MPEG layer III (ISO 11172-3) frame."""
    if head[:3] == b"\xff\xd8\xff":
        return ("jpeg",)
    if len(head) < 4:
        return ()
    if head[1] & 0xF6 == 0xF0:  # layer bits 00
        return ("aac",) if (head[2] >> 2) & 0xF < 13 else ()
    layer_three = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
    return ("mp3",) if layer_three and head[2] >> 4 != 0xF and head[2] & 0x0C != 0x0C else ()


def _tag_bytes(head: bytes) -> int:
    """The length of an ID3v2 tag: four bytes of seven bits, its head of ten bytes, and perhaps a foot of ten."""
    if len(head) < 10 or max(head[6:10]) > 0x7F:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return size + 20 if head[5] & 0x10 else size + 10
