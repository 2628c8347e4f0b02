"""Decodes a file that came from outside, and says what it holds. Runs in the processes of ``confined``.

FFmpeg guesses formats by itself, and some of those it knows are lists of other files to open. So it is told first which
demuxer the file's first bytes speak for, and which codecs are taken; only then does the codecs' own reading begin.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from happyhorse.codecs.images import PIXELS_MAX, read_image
from happyhorse.codecs.media import read_film, read_sound
from happyhorse.errors import MediaError
from happyhorse.server.inspection import Facts
from happyhorse.server.signatures import Format
from happyhorse.server.uploads import UploadLimits, recognised

PICTURES = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "png", "apng", "webp")
"""Covers of sound files included."""
_PCM = ("u8", "s16le", "s16be", "s24le", "s24be", "s32le", "s32be", "f32le", "f32be", "f64le", "alaw", "mulaw")
SOUNDS = ("aac", "mp3", "opus", "vorbis", "flac", "alac", *(f"pcm_{name}" for name in _PCM))
_COPIES = 2
"""Frames are in memory one by one and then once more, stacked."""


def decode(path: Path, kind: str, limits: UploadLimits) -> Facts:
    """Decodes all of a file. Raises MediaError if it breaks a limit, is damaged, or is not what its kind says."""
    head = _head(path, recognised(path, kind), kind, limits)
    _check(head, limits)
    if kind == "image":
        height, width = read_image(path).shape[:2]
        found = Facts(kind, width, height, frames=1)
    elif kind == "audio":
        found = Facts(kind, seconds=_sound_seconds(path, head), sample_rate=head.sample_rate)
    else:
        found = _film(path, head)
    _check(found, limits)
    return found


def _film(path: Path, head: Facts) -> Facts:
    frames, fps = read_film(path)
    count, height, width = frames.shape[:3]
    del frames
    seconds = max(count / fps, _sound_seconds(path, head) if head.sample_rate else 0.0)
    return Facts("video", width, height, count, fps, seconds, head.sample_rate)


def _sound_seconds(path: Path, head: Facts) -> float:
    return len(read_sound(path, head.sample_rate)) / head.sample_rate


def _head(path: Path, form: Format, kind: str, limits: UploadLimits) -> Facts:
    """What the file's head says, read by the demuxer that it must be for."""
    options = {
        "format_whitelist": ",".join(form.demuxers),
        "protocol_whitelist": "file",
        "codec_whitelist": ",".join(_decoders()),
        "max_pixels": str(PIXELS_MAX),
    }
    try:
        with av.open(str(path), options=options) as container:
            for stream in container.streams:
                _check_codec(stream, kind)
            return _facts(container, kind, limits)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"the {kind} is damaged, or not the {form.name} file that it begins as") from error


def _decoders() -> list[str]:
    """Names of all of FFmpeg's decoders for the codecs above."""
    own = {*PICTURES, *SOUNDS}
    return sorted(own | {name for name in av.codecs_available if _canonical(name) in own})


def _canonical(name: str) -> str:
    try:
        return av.Codec(name, "r").canonical_name
    except ValueError:  # an encoder
        return ""


def _check_codec(stream: Any, kind: str) -> None:
    if stream.type not in ("video", "audio"):
        return
    name = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
    if name not in (PICTURES if stream.type == "video" else SOUNDS):
        raise MediaError(f"the {kind} is coded as {name}, which is not taken; use H.264 and AAC, or VP9 and Opus")


def _facts(container: Any, kind: str, limits: UploadLimits) -> Facts:
    pictures, sounds = container.streams.video, container.streams.audio
    if kind == "audio" and not sounds:
        raise MediaError("the audio holds no sound; send a file such as a wav")
    if kind != "audio" and not pictures:
        raise MediaError(f"the {kind} holds no picture")
    sound = sounds[0] if sounds else None
    seconds = (container.duration or 0) / 1_000_000 if kind != "image" else 0.0
    rate = sound.rate if sound else 0
    if kind == "audio":
        return Facts(kind, seconds=seconds, sample_rate=rate)
    picture = pictures[0]
    if not picture.width:  # FFmpeg leaves it at that where there are more than max_pixels
        most = min(limits.pixels, PIXELS_MAX)
        raise MediaError(f"the {kind} is damaged, or has more than {most:,} pixels, which is the limit: scale it down")
    fps = float(picture.average_rate or 0) if kind == "video" else 0.0
    return Facts(kind, picture.width, picture.height, round(seconds * fps), fps, seconds, rate)


def _check(facts: Facts, limits: UploadLimits) -> None:
    """Raises MediaError for the limit that is broken."""
    if facts.pixels > limits.pixels:
        raise MediaError(
            f"the {facts.kind} is {facts.width}x{facts.height}; the limit is {limits.pixels:,} pixels: scale it down"
        )
    if facts.seconds > limits.seconds:
        raise MediaError(
            f"the {facts.kind} lasts {facts.seconds:.1f} s; the limit is {limits.seconds:g} s: cut it first"
        )
    taken = _COPIES * 3 * facts.pixels * facts.frames
    if taken > limits.decode_memory:
        most = f"{limits.decode_memory / 2**20:g} MiB"
        raise MediaError(
            f"the {facts.kind} takes {taken / 2**20:.0f} MiB decoded; the limit is {most}: cut it or scale it down"
        )
