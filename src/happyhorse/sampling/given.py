"""What a clip is made around: a picture to begin or to end with, a sound, a silent film."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.codecs.codec import AudioCoder, VideoCoder
from happyhorse.codecs.images import fit_image, read_image
from happyhorse.codecs.media import read_film, read_sound
from happyhorse.errors import ConfigError, MediaError, SizeError
from happyhorse.sampling import conditions
from happyhorse.types import ClipShape, Known, Latents

FPS = 24
SAMPLE_RATE = 24_000
SLACK = 0.05
"""Seconds by which a film may be shorter than the clip: its last frame stays."""


@dataclasses.dataclass(frozen=True)
class Image:
    """A picture."""

    pixels: NDArray[np.uint8]
    """[rows, columns, 3]"""
    source: dict[str, Any]
    """What the recipe says of it: path and hash."""

    @property
    def aspect(self) -> float:
        return self.pixels.shape[1] / self.pixels.shape[0]


@dataclasses.dataclass(frozen=True)
class Sound:
    """A sound that the picture is made for."""

    waveform: NDArray[np.float32]
    """[S] at 24 kHz."""
    source: dict[str, Any]

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Film:
    """A picture that the sound is made for."""

    frames: NDArray[np.uint8]
    """[F, rows, columns, 3] at 24 frames a second."""
    source: dict[str, Any]
    """Path and hash; "fps" if it had another rate."""

    @property
    def seconds(self) -> float:
        return len(self.frames) / FPS

    @property
    def aspect(self) -> float:
        return self.frames.shape[2] / self.frames.shape[1]


@dataclasses.dataclass(frozen=True)
class Beginning:
    """Picture and sound that a clip goes on from."""

    frames: NDArray[np.uint8]
    """[4 k + 1, height, width, 3] at 24 frames a second, in the clip's size."""
    waveform: NDArray[np.float32]
    """[1000 (4 k + 1)] at 24 kHz."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """Picture and sound that a clip leads to."""

    frames: NDArray[np.uint8]
    """[4 k, height, width, 3] at 24 frames a second, in the clip's size."""
    waveform: NDArray[np.float32]
    """[4000 k] at 24 kHz."""

    def add_to(self, known: Known, video: VideoCoder, audio: AudioCoder) -> Known:
        """``known`` with this at the end."""
        device = known.latents.video.device
        # The encoder's first latent frame is a frame alone; it is not wanted, and any frame will do for it.
        frames = np.concatenate([self.frames[:1], self.frames])
        latent = video.encode(conditions.picture(frames).to(device))[:, :, 1:]
        known = conditions.with_video(known, latent, start=-latent.shape[2])
        heard = audio.encode(torch.from_numpy(self.waveform)[None].to(device))
        return conditions.with_audio(known, heard, start=-heard.shape[1])


@dataclasses.dataclass(frozen=True)
class Given:
    """Everything that is given for a clip; most often nothing."""

    image: Image | None = None
    """Becomes the first frame."""
    last_image: Image | None = None
    """Becomes the last frame."""
    audio: Sound | None = None
    """The clip has this sound; its picture is made for it."""
    video: Film | None = None
    """The clip has this picture; its sound is made for it."""
    beginning: Beginning | None = None
    """The clip begins with these; see ``extend.py``."""
    ending: Ending | None = None
    """The clip ends with these; see ``loop.py``."""

    def __post_init__(self) -> None:
        if self.video and self.audio:
            raise ConfigError("a film and a sound together leave nothing to make; give one of the two")
        if self.video and (self.image or self.last_image):
            raise ConfigError("a film has its first and last frame already; give it without an image")
        assert not (self.beginning and (self.video or self.audio)), "a beginning has a picture and a sound of its own"

    @property
    def aspect(self) -> float | None:
        """Width over height of the first picture that is given."""
        picture = self.video or self.image or self.last_image
        return picture.aspect if picture else None

    def seconds(self, longest: float) -> float | None:
        """How long the clip is that a film or a sound asks for, in whole frames."""
        medium = self.video or self.audio
        return None if medium is None else max(1, int(min(medium.seconds, longest) * FPS + 1e-6)) / FPS

    def sources(self) -> dict[str, Any]:
        """For the recipe: the image always, the others where they are given."""
        others = {"last_image": self.last_image, "audio": self.audio, "video": self.video}
        named = {name: medium.source for name, medium in others.items() if medium}
        return {"image": self.image.source if self.image else None, **named}

    def check(self, shape: ClipShape) -> None:
        """Raises SizeError if the film ends before the clip does."""
        if self.video and self.video.seconds < shape.frames / FPS - SLACK:
            raise SizeError(
                f"the film lasts {self.video.seconds:.2f} s; ask for at most that (--seconds), not {shape.seconds:g} s"
            )

    def notes(self, shape: ClipShape) -> Iterator[str]:
        """What is done to the media to make them fit, a line each."""
        lasts = shape.frames / FPS
        for name, medium in (("the film", self.video), ("the sound", self.audio)):
            if medium and medium.seconds > lasts + SLACK:
                yield f"{name} lasts {medium.seconds:.2f} s; its first {lasts:g} s are used"
        if self.audio and self.audio.seconds < lasts - SLACK:
            yield f"the sound lasts {self.audio.seconds:.2f} s; the rest of the {lasts:g} s is silent"
        if self.video and "fps" in self.video.source:
            yield f"the film has {self.video.source['fps']:g} frames a second; it is shown at {FPS}"

    def known(self, like: Latents, shape: ClipShape, video: VideoCoder, audio: AudioCoder) -> Known | None:
        """The given parts as latents of the shape of ``like``; None if nothing is given."""
        if not (self.image or self.last_image or self.audio or self.video or self.beginning or self.ending):
            return None
        known = conditions.nothing(like)
        if self.image:
            known = conditions.with_image(known, self.image.pixels, video)
        if self.last_image:
            known = conditions.with_last_image(known, self.last_image.pixels, video)
        frames = self.film_frames(shape) if self.video else self.beginning.frames if self.beginning else None
        if frames is not None:
            known = conditions.with_video(known, video.encode(conditions.picture(frames).to(like.video.device)))
        wave = self.samples(shape.padded_frames) if self.audio else self.beginning.waveform if self.beginning else None
        if wave is not None:
            known = conditions.with_audio(known, audio.encode(torch.from_numpy(wave)[None].to(like.audio.device)))
        return self.ending.add_to(known, video, audio) if self.ending else known

    def film_frames(self, shape: ClipShape) -> NDArray[np.uint8]:
        """The film as the model sees it, [padded frames, height, width, 3]; its last frame stays where it is short."""
        assert self.video is not None
        rows = np.minimum(np.arange(shape.padded_frames), len(self.video.frames) - 1)
        return np.stack([fit_image(self.video.frames[row], shape.height, shape.width) for row in rows])

    def samples(self, frames: int) -> NDArray[np.float32]:
        """The sound of so many frames [frames * 1000], cut or followed by silence."""
        assert self.audio is not None
        wanted = frames * SAMPLE_RATE // FPS
        cut = self.audio.waveform[:wanted]
        return np.pad(cut, (0, wanted - len(cut)))

    def kept(
        self, frames: NDArray[np.uint8], audio: NDArray[np.float32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What is shown and heard: frames [F, ...] and sound [1, S], with the media that were given as they were."""
        if self.video:
            rows = np.minimum(np.arange(len(frames)), len(self.video.frames) - 1)
            height, width = (side // 2 * 2 for side in self.video.frames.shape[1:3])  # H.264 wants even sides
            frames = self.video.frames[rows, :height, :width]
        if self.audio:
            audio = self.samples(len(frames))[None]
        return frames, audio


def load_image(image: Path | str | NDArray[np.uint8] | None) -> Image | None:
    """A picture from a file or from uint8 [rows, columns, 3]. Raises MediaError if it is not one."""
    if image is None:
        return None
    if isinstance(image, str | Path):
        pixels = read_image(image)
        return Image(pixels, {"path": str(image), "sha256": array_hash(pixels)})
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise MediaError(f"an image array must be uint8 [rows, columns, 3]; got {image.dtype} {list(image.shape)}")
    return Image(image, {"path": None, "sha256": array_hash(image)})


def load_sound(sound: Path | str | NDArray[np.float32] | None) -> Sound | None:
    """A sound from any sound file, mixed to one channel at 24 kHz, or from float32 [S] at 24 kHz.

    Raises MediaError if it is none.
    """
    if sound is None:
        return None
    if isinstance(sound, str | Path):
        waveform = read_sound(sound, SAMPLE_RATE)
        return Sound(waveform, {"path": str(sound), "sha256": array_hash(waveform)})
    if not np.issubdtype(sound.dtype, np.floating) or sound.ndim != 1 or not sound.size:
        raise MediaError(f"a sound array must be float [samples] at 24 kHz; got {sound.dtype} {list(sound.shape)}")
    waveform = np.ascontiguousarray(sound, np.float32)
    return Sound(waveform, {"path": None, "sha256": array_hash(waveform)})


def load_film(film: Path | str | NDArray[np.uint8] | None) -> Film | None:
    """A film from a video file, shown at 24 frames a second, or from uint8 [F, rows, columns, 3]; sound is ignored.

    Raises MediaError if it is none.
    """
    if film is None:
        return None
    if isinstance(film, str | Path):
        frames, fps = read_film(film)
        source: dict[str, Any] = {"path": str(film), "sha256": array_hash(frames)}
        if abs(fps - FPS) > 0.01:
            return Film(at_24(frames, fps), {**source, "fps": round(fps, 3)})
        return Film(frames, source)
    if film.dtype != np.uint8 or film.ndim != 4 or film.shape[3] != 3 or not film.size:
        raise MediaError(f"a film array must be uint8 [F, rows, columns, 3]; got {film.dtype} {list(film.shape)}")
    return Film(film, {"path": None, "sha256": array_hash(film)})


def at_24(frames: NDArray[np.uint8], fps: float) -> NDArray[np.uint8]:
    """A film at 24 frames a second: at every 1/24 s the frame that is shown in its middle."""
    count = max(1, round(len(frames) / fps * FPS))
    shown = ((np.arange(count) + 0.5) / FPS * fps).astype(int)
    return frames[np.minimum(shown, len(frames) - 1)]


def array_hash(values: NDArray[Any]) -> str:
    """SHA-256 of an array's shape and values."""
    return hashlib.sha256(str(values.shape).encode() + np.ascontiguousarray(values).tobytes()).hexdigest()
