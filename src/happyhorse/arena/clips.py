"""What is asked of a clip: picture and sound that a browser plays, of a length that a person watches twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from happyhorse.arena.loudness import gain, integrated, peak
from happyhorse.codecs.media import MediaFacts, probe, read_wav
from happyhorse.errors import MediaError

SUFFIXES = (".mp4", ".webm")
SECONDS_MIN, SECONDS_MAX = 0.5, 60.0
FPS_MAX = 240.0
CHANNELS_MAX = 2
VIDEO_CODECS = ("h264", "vp8", "vp9", "av1")
AUDIO_CODECS = ("aac", "mp3", "opus", "vorbis")


@dataclasses.dataclass(frozen=True)
class ClipFacts:
    """What was measured of a clip."""

    width: int
    height: int
    fps: float
    seconds: float
    """Of the picture."""
    lufs: float | None
    """Integrated loudness; None if the sound is too quiet to have one."""
    peak: float
    """The highest absolute sample."""
    gain: float
    """Decibels that bring it to the common loudness, or as near as its peak allows."""


def inspect_clip(path: Path) -> ClipFacts:
    """Decodes all of a clip. Raises MediaError, which names the file and the limit, if the arena cannot show it."""
    if path.suffix.lower() not in SUFFIXES:
        raise MediaError(f"{path} ends in {path.suffix or 'nothing'}; the arena shows {' and '.join(SUFFIXES)}")
    facts = probe(path)
    _check_head(path, facts)
    seconds = _picture_frames(path, facts) / facts.fps
    _check_seconds(path, seconds)
    audio = _sound(path, seconds)
    loud, highest = integrated(audio, facts.sample_rate), peak(audio)
    return ClipFacts(facts.width, facts.height, facts.fps, seconds, loud, highest, gain(loud, highest))


def _check_head(path: Path, facts: MediaFacts) -> None:
    if not facts.sample_rate:
        raise MediaError(f"{path} has no sound; the arena compares picture and sound together")
    if facts.channels > CHANNELS_MAX:
        raise MediaError(f"{path} has {facts.channels} channels; the limit is {CHANNELS_MAX}: mix them down")
    if not 0 < facts.fps <= FPS_MAX:
        raise MediaError(f"{path} says it has {facts.fps:g} frames a second; it must be more than 0, up to {FPS_MAX:g}")
    # The head may count a sound that is a little longer than the picture, or nothing at all: that is measured below.
    if facts.seconds > SECONDS_MAX + 1:
        _check_seconds(path, facts.seconds)


def _check_seconds(path: Path, seconds: float) -> None:
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        way = "cut it" if seconds > SECONDS_MAX else "give a longer one"
        raise MediaError(f"{path} lasts {seconds:.2f} s; the limits are {SECONDS_MIN:g} to {SECONDS_MAX:g} s: {way}")


def _picture_frames(path: Path, facts: MediaFacts) -> int:
    """How many frames can be decoded, none of which is kept. It stops where the clip is too long, whatever was said."""
    most, count = SECONDS_MAX * facts.fps + 1, 0
    try:
        with av.open(str(path)) as container:
            _check_codec(path, "picture", container.streams.video[0].codec.canonical_name, VIDEO_CODECS)
            _check_codec(path, "sound", container.streams.audio[0].codec.canonical_name, AUDIO_CODECS)
            for _ in container.decode(video=0):
                count += 1
                if count > most:
                    break
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is damaged: its picture ends in an error after {count} frames") from error
    return count


def _check_codec(path: Path, medium: str, codec: str, known: tuple[str, ...]) -> None:
    if codec not in known:
        raise MediaError(
            f"the {medium} of {path} is coded as {codec}, which not all browsers play; give {', '.join(known)}"
        )


def _sound(path: Path, seconds: float) -> NDArray[np.float32]:
    """Samples [channels, S], up to the end of the picture."""
    audio, sample_rate = read_wav(path)
    audio = audio[:, : round(seconds * sample_rate)]
    if not audio.size or not np.isfinite(audio).all():
        raise MediaError(f"{path} is damaged: its sound holds no samples, or some that are no numbers")
    return audio
