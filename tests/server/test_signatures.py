import io

import pytest

from happyhorse.errors import MediaError
from happyhorse.server.signatures import HEAD_BYTES, KINDS, formats, media_types, plausible, recognise

MP3_FRAME = b"\xff\xfb\x90\x64"
AAC_FRAME = b"\xff\xf1\x4c\x40"
WEBM = b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"


def box(brand):
    return b"\x00\x00\x00\x20ftyp" + brand + b"\x00\x00\x02\x00isomiso2"


def tag(size, flags=0):
    """An ID3v2 tag of ``size`` bytes after its head."""
    return (
        b"ID3\x04\x00" + bytes([flags, size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + b"x" * size
    )


TAKEN = [
    ("image", "png", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
    ("image", "jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    ("image", "webp", b"RIFF\x10\x00\x00\x00WEBPVP8 "),
    ("audio", "wav", b"RIFF\x10\x00\x00\x00WAVEfmt "),
    ("audio", "mp3", MP3_FRAME),
    ("audio", "mp3", b"\xff\xf3\x40\xc4"),  # MPEG-2
    ("audio", "mp3", tag(1000) + MP3_FRAME),
    ("audio", "mp3", tag(300_000) + MP3_FRAME),  # a tag with a cover
    ("audio", "mp3", tag(20, flags=0x10) + b"3DI\x04\x00\x10\x00\x00\x00\x14" + MP3_FRAME),
    ("audio", "aac", AAC_FRAME),
    ("audio", "aac", b"\xff\xf9\x4c\x40"),  # MPEG-2
    ("audio", "aac", tag(10) + AAC_FRAME),
    ("audio", "m4a", box(b"M4A ")),
    ("audio", "m4a", box(b"isom")),
    ("audio", "flac", b"fLaC\x00\x00\x00\x22"),
    ("audio", "ogg", b"OggS\x00\x02"),
    ("video", "mp4", box(b"isom")),
    ("video", "mp4", box(b"mp42")),
    ("video", "mp4", box(b"iso6")),
    ("video", "webm", WEBM),
    ("video", "mov", box(b"qt  ")),
]


@pytest.mark.parametrize(("kind", "name", "content"), TAKEN)
def test_formats_that_are_taken(kind, name, content):
    found = recognise(io.BytesIO(content), kind)
    assert (found.name, found.kind) == (name, kind)
    early = plausible(content[:HEAD_BYTES], kind)
    assert early is not None, "what is taken in the end is not refused while it comes"
    for other in set(KINDS) - {kind, *(["audio", "video"] if b"ftyp" in content else [])}:
        with pytest.raises(MediaError):
            recognise(io.BytesIO(content), other)


NOT_TAKEN = [
    b"",
    b"\x89PN",
    b"GIF89a",
    b"BM\x00\x00",
    b"<svg xmlns='http://www.w3.org/2000/svg'>",
    b"<?xml version='1.0'?><svg>",
    b"%PDF-1.7",
    b"PK\x03\x04",
    b"\x7fELF",
    b"#!/bin/sh\n",
    b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\n",
    b"<?xml version='1.0'?><MPD>",
    b"RIFF\x10\x00\x00\x00AVI LIST",
    b"RIFF\x10",
    WEBM.replace(b"\x84webm", b"\x88matroska"),
    box(b"heic"),
    box(b"avif"),
    box(b"mif1"),
    box(b"jp2 "),
    box(b"3gp4"),
    b"\x00\x00\x00\x08moov",
    b"FLV\x01",
    b"FORM\x00\x00\x00\x00AIFF",
    b"\xff\xff\xff\xff",
    b"\xff\xfb\xf0\x64",  # a bit rate that is not
    b"\xff\xfb\x9c\x64",  # a sample rate that is not
    b"\xff\xeb\x90\x64",  # a version that is not
    b"\xff\xfd\x90\x64",  # layer II
    b"\xff\xf1\x7c\x40",  # a sample rate that is not
    b"\xff",
    b"ID3",
    b"ID3\x04\x00\x00\xff\xff\xff\xff",
    tag(0) + b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    tag(100) + b"ffconcat version 1.0\n",
    tag(100) + b"\x89PNG\r\n\x1a\n",
    tag(100) + b"RIFF\x10\x00\x00\x00WAVEfmt ",
    tag(10) + tag(10) + MP3_FRAME,
    tag(1000),
    tag(1000)[:500],
    b"x" + b"\x89PNG\r\n\x1a\n",
]


@pytest.mark.parametrize("content", NOT_TAKEN)
@pytest.mark.parametrize("kind", KINDS)
def test_formats_that_are_not(kind, content):
    with pytest.raises(MediaError, match=f"as an? {kind} is in no format that is taken; give"):
        recognise(io.BytesIO(content), kind)


def test_the_refusal_names_what_is_taken():
    with pytest.raises(MediaError, match="as an image is in no format that is taken; give png, jpeg or webp"):
        recognise(io.BytesIO(b"GIF89a"), "image")
    with pytest.raises(MediaError, match="as a video .* give mp4, webm or mov"):
        recognise(io.BytesIO(b"GIF89a"), "video")


def test_media_types_by_kind():
    assert media_types("image") == ("image/png", "image/jpeg", "image/jpg", "image/webp")
    assert {"audio/wav", "video/mp4"} <= set(media_types("audio", "video"))
    assert not {"image/svg+xml", "text/html", "application/octet-stream"} & set(media_types(*KINDS))
    assert [form.name for form in formats("video")] == ["mp4", "webm", "mov"]
