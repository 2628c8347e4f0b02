"""From a prompt to a clip with the published 15.3 B models, and from a clip to its render.

``PublicPipeline`` borrows the module of each stage from ``memory.turns.Turns``, so that it runs where the modules fit
one by one, or only layer by layer. Where the modules come from is said in ``public_parts.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
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
from happyhorse.sampling.published import FPS, PublishedShape, Rendering
from happyhorse.types import ClipShape, Known, Latents, Text

CHUNK = 8
"""Latent frames that a decoder is asked for at a time; it may prefer its own number."""
SAMPLES_PER_LATENT = CODEC_RATE // FPS
PROMPTS_KEPT = 16
"""Prompts whose features are remembered, 9 MB each at most: renders and further seeds need no text encoder."""
SHIPPED = Rendering()


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
    """Hash over all weights."""


@dataclasses.dataclass(frozen=True)
class PublicPreview:
    """A clip to be rendered."""

    latents: Latents
    audio: NDArray[np.float32]
    """[2, S] at 44,100 Hz; the render has the same."""
    recipe: Mapping[str, Any]
    """How it was made; the prompt is read from here."""
    image: Image | None = None
    """The picture that it begins with, if it was made from one."""


class PublicPipeline:
    """A published model with everything that it works with. The same seed on the same device gives the same clip."""

    def __init__(
        self, turns: Turns, tokenizer: PromptTokenizer, identity: PublicIdentity, device: torch.device | str
    ) -> None:
        self.turns, self.tokenizer, self.identity = turns, tokenizer, identity
        self.device = torch.device(device)
        self._read: dict[str, Text] = {}
        """Features of prompts that were read, on the host."""

    def make(
        self, request: PublicRequest, given: PublicGiven | None = None, on_progress: Progress | None = None
    ) -> Clip:
        """The preview of a request. Raises PromptError for a prompt that is too long."""
        given, watch, shape = given or PublicGiven(), Stopwatch(on_progress), request.shape
        with torch.inference_mode():
            latents = self.generate_latents(request, given, watch)
            frames = self.show(latents.video, shape, watch)
            audio = self.hear(latents.audio, given, len(frames), watch)
        recipe = {
            "happyhorse": __version__,
            "model": self.identity.name,
            "weights": self.identity.fingerprint,
            **request.recipe(),
            **given.sources(),
        }
        return Clip(frames, audio, FPS, FILE_RATE, recipe, watch.seconds, latents)

    def render(
        self,
        preview: PublicPreview,
        shape: PublishedShape,
        seed: int,
        settings: Rendering = SHIPPED,
        on_progress: Progress | None = None,
    ) -> Clip:
        """The clip in a larger size, with the preview's sound."""
        watch = Stopwatch(on_progress)
        with torch.inference_mode():
            video = self.render_latents(preview, shape, seed, settings, watch)
            frames = self.show(video, shape, watch)
        size = f"{shape.width}x{shape.height}"
        facts = {"size": size, "seed": seed, "steps": settings.steps, "weights": self.identity.fingerprint}
        recipe = {**preview.recipe, "render": facts}
        return Clip(frames, preview.audio, FPS, FILE_RATE, recipe, watch.seconds)

    # --------------------------------------------------------------------------------------------- to latents
    def generate_latents(self, request: PublicRequest, given: PublicGiven, watch: Stopwatch) -> Latents:
        """Clean latents, batch 1, of a request."""
        guided = request.denoising.guided
        texts = self.read([request.prompt, request.negative] if guided else [request.prompt], watch)
        generator = torch.Generator().manual_seed(request.seed)
        noise = published.draw_noise(request.shape, generator).to(self.device)
        known = self.known(noise, request.shape, given, watch)
        with watch.stage("denoise", request.denoising.steps) as advance, self.turns.use("generate") as model:
            return published.generate(
                model,
                texts[0],
                texts[1] if guided else None,
                noise,
                request.denoising,
                known=known,
                generator=generator,
                on_step=lambda done, _: advance(done),
            )

    def render_latents(
        self, preview: PublicPreview, shape: PublishedShape, seed: int, settings: Rendering, watch: Stopwatch
    ) -> Tensor:
        """The picture's latents in a larger size; noise is drawn for the picture first, then for the sound."""
        texts = self.read([preview.recipe["prompt"]], watch)
        image = self.first_frame(preview.image, shape, watch)
        generator = torch.Generator().manual_seed(seed)
        video = torch.randn(1, published.VIDEO_CHANNELS, *shape.latent_size, generator=generator)
        noise = Latents(video, torch.randn(preview.latents.audio.shape, generator=generator)).to(self.device)
        with watch.stage("render", settings.steps) as advance, self.turns.use("render") as model:
            return published.render(
                model,
                texts[0],
                None,
                preview.latents.to(self.device),
                noise,
                settings,
                image=image,
                on_step=lambda done, _: advance(done),
            )

    def read(self, prompts: Sequence[str], watch: Stopwatch) -> list[Text]:
        """Features of each prompt by itself; those that were read lately are still known."""
        with watch.stage("read", 1):
            new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._read]
            if new:
                with self.turns.use("text") as encoder:
                    coder = T5GemmaText(self.tokenizer, encoder)
                    found = {prompt: coder.batch([prompt]).to("cpu") for prompt in new}
                self._read = {**dict(list(self._read.items())[-PROMPTS_KEPT:]), **found}
            return [self._read[prompt].to(self.device) for prompt in prompts]

    def first_frame(self, image: Image | None, shape: PublishedShape, watch: Stopwatch) -> Tensor | None:
        """A given image as the first latent frame [1, 48, 1, H, W] of a clip, cropped and resized to it."""
        if image is None:
            return None
        with watch.stage("image", 1), self.turns.use("image") as codec:
            sized = fit_lanczos(image.pixels, shape.height, shape.width)
            return codec.encode(conditions.picture(sized[None]).to(self.device))  # type: ignore[operator]

    def known(self, noise: Latents, shape: PublishedShape, given: PublicGiven, watch: Stopwatch) -> Known | None:
        """What is given, as latents of the shape of ``noise``."""
        known, image = conditions.nothing(noise), self.first_frame(given.image, shape, watch)
        if image is not None:
            known = conditions.with_video(known, image)
        if given.sound is not None:
            with watch.stage("listen", 1), self.turns.use("sound") as codec:
                wave = cut(given.sound.heard, noise.audio.shape[1] * SAMPLES_PER_LATENT)
                stereo = torch.from_numpy(wave).expand(1, 2, -1).to(self.device)
                known = conditions.with_audio(known, codec.encode(stereo))  # type: ignore[operator]
        return known if given.image or given.sound else None

    # ------------------------------------------------------------------------------------------- from latents
    def show(self, video: Tensor, shape: ClipShape, watch: Stopwatch) -> NDArray[np.uint8]:
        """Frames uint8 [F, height, width, 3], decoded a few at a time."""
        parts = []
        with watch.stage("picture", shape.padded_frames) as advance, self.turns.use("picture") as codec:
            for part in codec.decode_chunks(video, CHUNK):  # type: ignore[operator]
                parts.append(to_bytes(part))
                advance(sum(map(len, parts)))
        return np.concatenate(parts)[: shape.frames]

    def hear(self, audio: Tensor, given: PublicGiven, frames: int, watch: Stopwatch) -> NDArray[np.float32]:
        """The sound of so many frames, float32 [2, S] at 44,100 Hz; a given one as it was."""
        samples = frames * FILE_RATE // FPS
        if given.sound:
            return np.repeat(cut(given.sound.kept, samples)[None], 2, axis=0)
        with watch.stage("sound", 1), self.turns.use("sound") as codec:
            wave = to_44100(codec.decode(audio)[0].float()).cpu().numpy()  # type: ignore[operator]
        return np.ascontiguousarray(wave[:, :samples].clip(-1, 1))


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
