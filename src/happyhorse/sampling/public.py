"""From a prompt to a clip with the published 15.3 B models: text, preview, render, picture, sound, one after another.

``PublicPipeline`` borrows the module of each stage from ``memory.turns.Turns``, so that it runs where the modules fit
one by one, or only layer by layer. Where the modules come from is said in ``public_parts.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from happyhorse import __version__
from happyhorse.clip import Clip
from happyhorse.codecs.images import read_image
from happyhorse.codecs.media import read_sound
from happyhorse.codecs.resample import CODEC_RATE, FILE_RATE, to_44100
from happyhorse.codecs.t5gemma import PromptTokenizer, T5GemmaText
from happyhorse.memory.turns import Turns
from happyhorse.sampling import conditions, published
from happyhorse.sampling.given import Image, array_hash
from happyhorse.sampling.pipeline import Progress, Stopwatch
from happyhorse.sampling.public_request import PublicRequest
from happyhorse.sampling.published import FPS
from happyhorse.types import ClipShape, Known, Latents, Text

CHUNK = 8
"""Latent frames that a decoder is asked for at a time; it may prefer its own number."""
SAMPLES_PER_LATENT = CODEC_RATE // FPS


@dataclasses.dataclass(frozen=True)
class GivenSound:
    """A sound that the picture is made for."""

    heard: NDArray[np.float32]
    """[S] at 51,200 Hz, as the codec reads it."""
    kept: NDArray[np.float32]
    """[S'] at 44,100 Hz: the clip has this one."""
    source: dict[str, Any]

    @property
    def seconds(self) -> float:
        return len(self.kept) / FILE_RATE


@dataclasses.dataclass(frozen=True)
class PublicGiven:
    """What a clip is made around."""

    image: Image | None = None
    """Becomes the first frame."""
    sound: GivenSound | None = None

    @property
    def aspect(self) -> float | None:
        return self.image.aspect if self.image else None

    def sources(self) -> dict[str, Any]:
        """For the recipe."""
        sound = {"audio": self.sound.source} if self.sound else {}
        return {"image": self.image.source if self.image else None, **sound}

    def notes(self, shape: ClipShape) -> Iterator[str]:
        """What is done to make it fit, a line each."""
        if self.sound and abs(self.sound.seconds - shape.frames / FPS) > 0.05:
            longer = self.sound.seconds > shape.frames / FPS
            done = f"its first {shape.frames / FPS:g} s are used" if longer else "the rest of the clip is silent"
            yield f"the sound lasts {self.sound.seconds:.2f} s; {done}"


def load_given(image: Path | str | None = None, audio: Path | str | None = None) -> PublicGiven:
    """Reads what is given. Raises MediaError if a file is not what it should be."""
    picture = sound = None
    if image is not None:
        pixels = read_image(image)
        picture = Image(pixels, {"path": str(image), "sha256": array_hash(pixels)})
    if audio is not None:
        kept = read_sound(audio, FILE_RATE)
        sound = GivenSound(read_sound(audio, CODEC_RATE), kept, {"path": str(audio), "sha256": array_hash(kept)})
    return PublicGiven(picture, sound)


@dataclasses.dataclass(frozen=True)
class PublicIdentity:
    """What recipes say of a model."""

    name: str
    fingerprint: str


class PublicPipeline:
    """A published model with everything that it works with. The same seed on the same device gives the same clip."""

    def __init__(
        self, turns: Turns, tokenizer: PromptTokenizer, identity: PublicIdentity, device: torch.device | str
    ) -> None:
        self.turns, self.tokenizer, self.identity = turns, tokenizer, identity
        self.device = torch.device(device)

    def make(
        self, request: PublicRequest, given: PublicGiven | None = None, on_progress: Progress | None = None
    ) -> Clip:
        """The clip of a request. Raises PromptError for a prompt that is too long."""
        given, watch = given or PublicGiven(), Stopwatch(on_progress)
        with torch.inference_mode():
            latents = self.generate_latents(request, given, watch)
            frames = self.show(latents.video, request.large or request.shape, watch)
            audio = self.sound(latents.audio, given, len(frames), watch)
        recipe = {
            "happyhorse": __version__,
            "model": self.identity.name,
            "weights": self.identity.fingerprint,
            **request.recipe(),
            **given.sources(),
        }
        return Clip(frames, audio, FPS, FILE_RATE, recipe, watch.seconds, latents)

    # --------------------------------------------------------------------------------------------- to latents
    def generate_latents(self, request: PublicRequest, given: PublicGiven, watch: Stopwatch) -> Latents:
        """Clean latents, batch 1: the preview's or, if a render is asked for, the render's picture; always the
        preview's sound."""
        text, negative = self.read(request, watch)
        images = self.first_frames(request, given, watch)
        generator = torch.Generator().manual_seed(request.seed)
        noise = published.draw_noise(request.shape, generator).to(self.device)
        known = self.known(noise, images[0], given, watch)
        with watch.stage("denoise", request.denoising.steps) as advance, self.turns.use("generate") as model:
            preview = published.generate(
                model,
                text,
                negative,
                noise,
                request.denoising,
                known=known,
                generator=generator,
                on_step=lambda done, _: advance(done),
            )
        if request.large is None:
            return preview
        noise = self.render_noise(request, preview, generator)
        with watch.stage("render", request.rendering.steps) as advance, self.turns.use("render") as model:
            video = published.render(
                model,
                text,
                None,
                preview,
                noise,
                request.rendering,
                image=images[1],
                on_step=lambda done, _: advance(done),
            )
        return Latents(video, preview.audio)

    def render_noise(self, request: PublicRequest, preview: Latents, generator: torch.Generator) -> Latents:
        """Fresh noise for the picture in its new size and for the sound beside it, drawn picture first."""
        assert request.large is not None
        video = torch.randn(1, published.VIDEO_CHANNELS, *request.large.latent_size, generator=generator)
        audio = torch.randn(preview.audio.shape, generator=generator)
        return Latents(video, audio).to(self.device)

    def read(self, request: PublicRequest, watch: Stopwatch) -> tuple[Text, Text | None]:
        """Features of the prompt and, with guidance, of the negative prompt."""
        with watch.stage("read", 1), self.turns.use("text") as encoder:
            coder = T5GemmaText(self.tokenizer, encoder)
            text = coder.batch([request.prompt]).to(self.device)
            return text, coder.batch([request.negative]).to(self.device) if request.denoising.guided else None

    def first_frames(
        self, request: PublicRequest, given: PublicGiven, watch: Stopwatch
    ) -> tuple[Tensor | None, Tensor | None]:
        """The given image as a latent frame in the preview's size, and in the render's."""
        if given.image is None:
            return None, None
        with watch.stage("image", 1), self.turns.use("image") as codec:
            shapes = (request.shape, request.large)
            small, large = (shape and encode_image(codec, given.image.pixels, shape, self.device) for shape in shapes)
        return small, large

    def known(self, noise: Latents, image: Tensor | None, given: PublicGiven, watch: Stopwatch) -> Known | None:
        """What is given, as latents of the shape of ``noise``."""
        if image is None and given.sound is None:
            return None
        known = conditions.nothing(noise)
        if image is not None:
            known = conditions.with_video(known, image)
        if given.sound is None:
            return known
        with watch.stage("listen", 1), self.turns.use("sound") as codec:
            wave = cut(given.sound.heard, noise.audio.shape[1] * SAMPLES_PER_LATENT)
            stereo = torch.from_numpy(wave).expand(1, 2, -1).to(self.device)
            return conditions.with_audio(known, codec.encode(stereo))  # type: ignore[operator]

    # ------------------------------------------------------------------------------------------- from latents
    def show(self, video: Tensor, shape: ClipShape, watch: Stopwatch) -> NDArray[np.uint8]:
        """Frames uint8 [F, height, width, 3], decoded a few at a time."""
        parts = []
        with watch.stage("picture", shape.padded_frames) as advance, self.turns.use("picture") as codec:
            for part in codec.decode_chunks(video, CHUNK):  # type: ignore[operator]
                parts.append(to_bytes(part))
                advance(sum(map(len, parts)))
        return np.concatenate(parts)[: shape.frames]

    def sound(self, audio: Tensor, given: PublicGiven, frames: int, watch: Stopwatch) -> NDArray[np.float32]:
        """The sound of so many frames, float32 [2, S] at 44,100 Hz; a given one as it was."""
        samples = frames * FILE_RATE // FPS
        if given.sound:
            return np.repeat(cut(given.sound.kept, samples)[None], 2, axis=0)
        with watch.stage("sound", 1), self.turns.use("sound") as codec:
            wave = to_44100(codec.decode(audio)[0].float()).cpu().numpy()  # type: ignore[operator]
        return np.ascontiguousarray(wave[:, :samples].clip(-1, 1))


def encode_image(codec: Any, pixels: NDArray[np.uint8], shape: ClipShape, device: torch.device) -> Tensor:
    """An image as the first latent frame [1, 48, 1, H, W] of a clip, cropped and resized to it."""
    sized = fit_lanczos(pixels, shape.height, shape.width)
    return codec.encode(conditions.picture(sized[None]).to(device)).to(device)


def fit_lanczos(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The largest centred crop of an RGB image with the aspect of width x height, resized by Pillow's Lanczos filter,
    as the published models were trained with."""
    from PIL import Image as Picture

    rows, columns = image.shape[:2]
    if columns * height > rows * width:
        crop = rows, round(rows * width / height)
    else:
        crop = round(columns * height / width), columns
    top, left = (rows - crop[0]) // 2, (columns - crop[1]) // 2
    cropped = Picture.fromarray(image[top : top + crop[0], left : left + crop[1]])
    return np.array(cropped.resize((width, height), Picture.Resampling.LANCZOS))


def to_bytes(picture: Tensor) -> NDArray[np.uint8]:
    """Frames [1, 3, F, height, width] in [-1, 1] as uint8 [F, height, width, 3], rounded down as published."""
    levels = ((picture[0].float() * 0.5 + 0.5).clamp(0, 1) * 255).to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().cpu().numpy()


def cut(wave: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    """The first ``samples`` of a sound [S], with silence behind it where it is shorter."""
    kept = wave[:samples]
    return np.pad(kept, (0, samples - len(kept)))
