"""Clips as files: mp4 (H.264 + AAC) and wav in and out, with limits on what is read. PyAV brings the encoders."""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from happyhorse.codecs.images import fit_image, read_image, require_file, write_png
from happyhorse.errors import MediaError, OutputError
from happyhorse.files import output_error, whole_file

__all__ = [
    "MediaClip",
    "MediaFacts",
    "fit_image",
    "probe",
    "read_film",
    "read_image",
    "read_mp4",
    "read_sound",
    "read_wav",
    "write_mp4",
    "write_png",
    "write_wav",
]

FILE_BYTES_MAX = 2 * 2**30
SIDE_MAX = 4096
SECONDS_MAX = 600
DECODED_BYTES_MAX = 4 * 2**30
"""Frames are read into memory at three bytes a pixel: a file within the other limits could still fill it."""

_VIDEO_OPTIONS = (("crf", "16"), ("preset", "medium"), ("x264-params", "mbtree=0"))
"""Without mbtree=0, x264 gave three different files in eight runs of the same frames; with it always the same one."""
_AUDIO_BIT_RATE = 160_000
_BT709 = 1
"""Code of BT.709 for matrix, primaries and transfer in H.264 (ITU-T H.273); also of limited range in libav."""
_AUDIO_BLOCK = 1024
_TO_RGB = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
"""The default conversion is 1.2 levels too dark on average (41 dB); this one is within 0.15 (52 dB)."""


@dataclasses.dataclass(frozen=True)
class MediaFacts:
    """What the head of a media file says, before anything is decoded."""

    width: int
    height: int
    fps: float
    seconds: float
    sample_rate: int
    """0 if there is no sound."""
    channels: int
    comment: str
    """The container's comment tag, "" if there is none; our own files keep their recipe there."""


@dataclasses.dataclass(frozen=True)
class MediaClip:
    """A clip read from a file."""

    frames: NDArray[np.uint8]
    """[F, height, width, 3]"""
    audio: NDArray[np.float32]
    """[channels, samples] in [-1, 1]"""
    fps: float
    sample_rate: int
    comment: str


def write_mp4(
    path: Path | str,
    frames: NDArray[np.uint8],
    audio: NDArray[np.float32],
    fps: int,
    sample_rate: int,
    comment: str = "",
    overwrite: bool = True,
    sound_of: Path | str | None = None,
) -> None:
    """Writes frames uint8 [F, height, width, 3] and sound float32 [channels, samples] as H.264 + AAC.

    With ``sound_of`` the sound track of that mp4 is copied, bit for bit, instead of encoding ``audio``. The same input
    gives the same bytes on the same machine. Raises OutputError if the file cannot be written; then nothing is left
    under ``path``.
    """
    assert frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3, f"not RGB frames: {frames.shape}"
    assert audio.ndim == 2 and audio.shape[0] in (1, 2), f"sound must be [1 or 2, samples]: {audio.shape}"
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise OutputError(f"H.264 needs even sides; got {frames.shape[2]}x{frames.shape[1]}")
    with whole_file(path, overwrite) as temporary:
        try:
            _encode(temporary, frames, audio, fps, sample_rate, comment, sound_of)
        except FFmpegError as error:
            raise output_error(Path(path), OSError(error.errno, error.strerror)) from error


def _encode(
    path: Path, frames: Any, audio: Any, fps: int, sample_rate: int, comment: str, sound_of: Path | str | None
) -> None:
    with contextlib.ExitStack() as opened:
        container = opened.enter_context(av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}))
        container.metadata["comment"] = comment
        video = container.add_stream("libx264", rate=fps, options=dict(_VIDEO_OPTIONS))
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        context = video.codec_context
        context.color_range = context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.thread_count = 1  # the number of threads changes x264's choices, and so the bytes
        if sound_of is None:
            sound = container.add_stream("aac", rate=sample_rate, layout=_layout(len(audio)))
            sound.bit_rate = _AUDIO_BIT_RATE
            sounds = _audio_packets(sound, audio, sample_rate)
        else:
            source = opened.enter_context(av.open(str(sound_of)))
            sounds = _copied_packets(source, container.add_stream_from_template(source.streams.audio[0]))
        for packet in heapq.merge(_video_packets(video, frames, fps), sounds, key=_decode_time):
            container.mux(packet)


def _copied_packets(source: InputContainer, stream: Any) -> Iterator[Packet]:
    for packet in source.demux(audio=0):
        if packet.dts is not None:  # the last one is empty
            packet.stream = stream
            yield packet


def _decode_time(packet: Packet) -> float:
    return float(packet.dts * packet.time_base) if packet.dts is not None else math.inf


def _layout(channels: int) -> str:
    return "mono" if channels == 1 else "stereo"


def _video_packets(stream: Any, frames: NDArray[np.uint8], fps: int) -> Iterator[Packet]:
    for index, pixels in enumerate(frames):
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        frame.pts, frame.time_base = index, Fraction(1, fps)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _audio_packets(stream: Any, audio: NDArray[np.float32], sample_rate: int) -> Iterator[Packet]:
    clipped = np.clip(audio, -1, 1).astype(np.float32)
    for start in range(0, audio.shape[1], _AUDIO_BLOCK):
        block = np.ascontiguousarray(clipped[:, start : start + _AUDIO_BLOCK])
        frame = AudioFrame.from_ndarray(block, format="fltp", layout=_layout(len(audio)))
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, start, Fraction(1, sample_rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def probe(path: Path | str) -> MediaFacts:
    """What a media file is, without decoding it. Raises MediaError if it is missing, too large, or holds no picture."""
    path = Path(path)
    require_file(path, FILE_BYTES_MAX)
    try:
        with av.open(str(path)) as container:
            return _facts(path, container)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> MediaError:
    return MediaError(f"{path} is damaged or not a media file; give a video such as an mp4")


def _facts(path: Path, container: InputContainer) -> MediaFacts:
    if not container.streams.video:
        raise MediaError(f"{path} has no picture; give a video such as an mp4")
    video = container.streams.video[0]
    sound = container.streams.audio[0] if container.streams.audio else None
    facts = MediaFacts(
        width=video.width,
        height=video.height,
        fps=float(video.average_rate or 0),
        seconds=(container.duration or 0) / 1_000_000,
        sample_rate=sound.rate if sound else 0,
        channels=sound.channels if sound else 0,
        comment=container.metadata.get("comment", ""),
    )
    _check_limits(path, facts)
    return facts


def _check_limits(path: Path, facts: MediaFacts) -> None:
    if max(facts.width, facts.height) > SIDE_MAX:
        raise MediaError(f"{path} is {facts.width}x{facts.height}; the limit is {SIDE_MAX} px a side: scale it down")
    if facts.seconds > SECONDS_MAX:
        raise MediaError(f"{path} lasts {facts.seconds:.0f} s; the limit is {SECONDS_MAX} s: cut it first")


def read_mp4(path: Path | str) -> MediaClip:
    """Frames and sound of a media file, all in memory.

    Raises MediaError if the file is missing, damaged, without picture or sound, or larger than 2 GiB, 4096 px a side,
    10 minutes or 4 GiB of decoded frames.
    """
    path = Path(path)
    facts = probe(path)
    if not facts.sample_rate:
        raise MediaError(f"{path} has no sound; give a video with an audio track")
    frames = _read_frames(path, facts)
    try:
        audio = _read_sound(path)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise _unreadable(path) from error
    if not audio.shape[1]:
        raise _unreadable(path)
    samples = round(len(frames) / facts.fps * facts.sample_rate) if facts.fps else audio.shape[1]
    # AAC comes in blocks of 1024: what the last block holds past the picture's end is padding.
    return MediaClip(frames, audio[:, :samples], facts.fps, facts.sample_rate, facts.comment)


def read_film(path: Path | str) -> tuple[NDArray[np.uint8], float]:
    """Frames [F, height, width, 3] of a video file, with or without sound, and their rate.

    Raises MediaError if the file is missing, damaged, without picture, or larger than ``read_mp4`` takes.
    """
    facts = probe(path)
    if not facts.fps:
        raise MediaError(f"{path} does not say how many frames a second it has; give a video such as an mp4")
    return _read_frames(Path(path), facts), facts.fps


def _read_frames(path: Path, facts: MediaFacts) -> NDArray[np.uint8]:
    decoded = facts.width * facts.height * 3 * facts.fps * facts.seconds
    if decoded > DECODED_BYTES_MAX:
        limit = DECODED_BYTES_MAX >> 30
        raise MediaError(
            f"{path} would take {decoded / 2**30:.1f} GiB decoded; the limit is {limit}: cut it or scale it"
        )
    try:
        with av.open(str(path)) as container:
            frames = [
                frame.reformat(format="rgb24", interpolation=_TO_RGB).to_ndarray()
                for frame in container.decode(video=0)
            ]
    except (FFmpegError, UnicodeDecodeError) as error:
        raise _unreadable(path) from error
    if not frames:
        raise _unreadable(path)
    return np.stack(frames).astype(np.uint8, copy=False)


def _read_sound(path: Path, rate: int | None = None, layout: str | None = None) -> NDArray[np.float32]:
    """Samples [channels, samples], at the file's own rate and layout unless others are given."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = AudioResampler(format="fltp", layout=layout or stream.layout, rate=rate or stream.rate)
        blocks = [part.to_ndarray() for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        blocks += [part.to_ndarray() for part in resampler.resample(None)]
        silence = np.zeros((1 if layout == "mono" else stream.channels, 0), np.float32)
        return np.concatenate([silence, *blocks], axis=1, dtype=np.float32)


def write_wav(path: Path | str, audio: NDArray[np.float32], sample_rate: int, overwrite: bool = True) -> None:
    """Writes sound float32 [channels, samples] in [-1, 1] as 16-bit PCM. Raises OutputError if it cannot be written."""
    values = np.round(np.clip(audio, -1, 1) * 32767).astype("<i2")
    with whole_file(path, overwrite) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(values.shape[0])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(values.T.tobytes())


def read_wav(path: Path | str) -> tuple[NDArray[np.float32], int]:
    """Sound float32 [channels, samples] of a wav (or any other sound) file, and its sample rate.

    Raises MediaError if the file is missing, too large, damaged, or holds no sound.
    """
    path = Path(path)
    sample_rate = _sound_rate(path)
    return _sound_of(path), sample_rate


def read_sound(path: Path | str, sample_rate: int) -> NDArray[np.float32]:
    """Sound [S] of a sound or video file, mixed to one channel and resampled; errors as of ``read_wav``."""
    path = Path(path)
    _sound_rate(path)
    found = _sound_of(path, sample_rate, "mono")[0]
    if not len(found):
        raise MediaError(f"{path} holds no samples; give a sound file such as a wav")
    return found


def _sound_rate(path: Path) -> int:
    """The sample rate of a sound file that may be read."""
    require_file(path, FILE_BYTES_MAX)
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise MediaError(f"{path} has no sound; give a sound file such as a wav")
            seconds = (container.duration or 0) / 1_000_000
            sample_rate = container.streams.audio[0].rate
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is damaged or not a sound file; give a wav") from error
    if seconds > SECONDS_MAX:
        raise MediaError(f"{path} lasts {seconds:.0f} s; the limit is {SECONDS_MAX} s: cut it first")
    return sample_rate


def _sound_of(path: Path, rate: int | None = None, layout: str | None = None) -> NDArray[np.float32]:
    try:
        return _read_sound(path, rate, layout)
    except (FFmpegError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is damaged or not a sound file; give a wav") from error
