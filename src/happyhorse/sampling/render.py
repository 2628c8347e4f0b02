"""From a preview to its render: four times the size, the same composition, the same sound.

``Renderer.from_pretrained("foal").render(clip).save("large.mp4")``
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from happyhorse.clip import Clip
from happyhorse.codecs.codec import AudioCoder, TextCoder, VideoCoder
from happyhorse.codecs.text import Tokenizer
from happyhorse.compile.choose import check_asked
from happyhorse.compile.heap import keep_freed_memory
from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.errors import MediaError, SizeError, WeightsError
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import conditions
from happyhorse.sampling.compiled import Compiling
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Image
from happyhorse.sampling.pipeline import Progress, Stopwatch, load_codecs, load_part
from happyhorse.sampling.superres import CHUNK, Enlarging, enlarge, render_latents, starting_point
from happyhorse.types import ClipShape, Known, Latents
from happyhorse.weights.registry import Model, resolve

ROLE = "superres"
PIXELS_MAX = 1920 * 1088
"""Of a render's frame."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """A clip to be rendered."""

    frames: NDArray[np.uint8]
    """[F, height, width, 3]"""
    audio: NDArray[np.float32]
    """[1, S] at 24 kHz; the render has the same."""
    recipe: dict[str, Any]
    """How it was made; the prompt is read from here."""
    latents: Latents | None = None
    """What its picture and sound were decoded from; they are encoded from these if it is gone."""
    image: Image | None = None
    """The picture that it begins with, if it was made from one."""

    @property
    def shape(self) -> ClipShape:
        """Duration and size. Raises SizeError for sizes that no preview has."""
        count, height, width = self.frames.shape[:3]
        return ClipShape(count / FPS, height, width)


@dataclasses.dataclass(frozen=True)
class RenderParts:
    """Everything that a renderer is made of."""

    model: nn.Module
    video: VideoCoder
    audio: AudioCoder
    text: TextCoder
    settings: Enlarging
    fingerprint: str
    """Hash over all weights, for recipes."""


class Renderer:
    """A super-resolution model with its codecs. The same seed on the same machine gives the same bytes, if recipes say
    the same of compiling."""

    def __init__(
        self, parts: RenderParts, device: torch.device | str = "cpu", compiling: Compiling | None = None
    ) -> None:
        """``compiling``: unless given, the model is used as it is."""
        self.parts, self.device = parts, torch.device(device)
        self.compiling = compiling or Compiling(parts.model)

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "foal", device: torch.device | str | None = None, compile: str = "auto"
    ) -> Renderer:
        """The super-resolution model of a model's folder; ``compile`` as of a Pipeline.

        Raises WeightsError if it has none or it cannot be read, ConfigError for another ``compile``.
        """
        device, asked = find_device(device), check_asked(compile)
        parts = load_render_parts(resolve(model), device)
        return cls(parts, device, Compiling(parts.model, asked))

    def render(
        self, preview: Preview | Clip, seed: int = 0, steps: int | None = None, on_progress: Progress | None = None
    ) -> Clip:
        """The clip at four times the size. Raises SizeError for a preview that is too large for that."""
        preview = preview if isinstance(preview, Preview) else as_preview(preview)
        settings = self.parts.settings if steps is None else self.parts.settings.replace(steps=steps)
        shape = render_shape(preview.shape, settings.scale)
        watch = Stopwatch(on_progress)
        with torch.inference_mode():
            latents = self._latents(preview, settings, shape, seed, watch)
            frames = self._decode(latents, shape, watch)
        size = f"{shape.width}x{shape.height}"
        facts = {"size": size, "seed": seed, "steps": settings.steps, "weights": self.parts.fingerprint}
        recipe = {**preview.recipe, "render": {**facts, **self.compiling.recipe}}
        return Clip(frames, preview.audio, shape.fps, SAMPLE_RATE, recipe, watch.seconds)

    def _latents(
        self, preview: Preview, settings: Enlarging, shape: ClipShape, seed: int, watch: Stopwatch
    ) -> torch.Tensor:
        parts, model = self.parts, cast(Any, self.parts.model)
        with watch.stage("enlarge", 1):
            small = (preview.latents or self.encode(preview)).to(self.device)
            enlarged = enlarge(small.video, settings, parts.video)
        noise = torch.randn(enlarged.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        start = Latents(starting_point(enlarged, noise, settings.kept), small.audio)
        text = parts.text.batch([preview.recipe["prompt"]]).to(self.device)
        memory = model.encode_text(text) if model.config.text == "tokens" else text
        model = self.compiling.pick(start, memory, model.layout(start, memory), settings.steps)
        with watch.stage("render", settings.steps) as advance:
            known = self._known(preview, start)
            return render_latents(model, memory, start, known, settings, lambda done, _: advance(done))

    def _known(self, preview: Preview, start: Latents) -> Known:
        """The whole sound, and the first frame if it was given."""
        known = conditions.with_audio(conditions.nothing(start), start.audio)
        return conditions.with_image(known, preview.image.pixels, self.parts.video) if preview.image else known

    def encode(self, preview: Preview) -> Latents:
        """The latents of a preview whose own are gone, from its frames and its sound."""
        count = preview.shape.padded_frames
        rows = np.minimum(np.arange(count), len(preview.frames) - 1)
        video = self.parts.video.encode(conditions.picture(preview.frames[rows]).to(self.device))
        samples = count * SAMPLE_RATE // preview.shape.fps
        wave = np.pad(preview.audio[0, :samples], (0, max(0, samples - preview.audio.shape[1])))
        return Latents(video, self.parts.audio.encode(torch.from_numpy(wave)[None].to(self.device)))

    def _decode(self, latents: torch.Tensor, shape: ClipShape, watch: Stopwatch) -> NDArray[np.uint8]:
        """Frames uint8 [F, height, width, 3], decoded a few at a time."""
        total = -(-shape.latent_frames // CHUNK)
        parts = []
        with watch.stage("picture", total) as advance:
            for part in self.parts.video.decode_chunks(latents, CHUNK):
                parts.append(conditions.pixels(part))
                advance(len(parts))
        return np.concatenate(parts)[: shape.frames]


def as_preview(clip: Clip) -> Preview:
    """A clip that was just made, as what is to be rendered. Raises MediaError if its picture was given, not made."""
    recipe = dict(clip.recipe)
    check_recipe(recipe, "the clip")
    return Preview(clip.frames, clip.audio, recipe, clip.latents)


def check_recipe(recipe: dict[str, Any], what: str) -> None:
    """Raises MediaError for clips that there is nothing to render of."""
    if "render" in recipe:
        raise MediaError(f"{what} is a render already, of {recipe['render'].get('size')}; render its preview")
    if "video" in recipe:
        raise MediaError(f"{what} shows a film that was given; there is no picture of ours to render")
    if not isinstance(recipe.get("prompt"), str):
        raise MediaError(f"{what} has no prompt in its recipe; only clips written by happyhorse can be rendered")


def render_shape(shape: ClipShape, scale: int) -> ClipShape:
    """The shape of a preview's render. Raises SizeError if that is too large."""
    height, width = scale * shape.height, scale * shape.width
    if height * width > PIXELS_MAX:
        raise SizeError(
            f"a clip of {shape.width}x{shape.height} would become {width}x{height}; a render may have "
            f"{PIXELS_MAX} pixels: make a smaller preview"
        )
    return ClipShape(shape.seconds, height, width)


def load_render_parts(model: Model, device: torch.device) -> RenderParts:
    """The super-resolution model beside a generator, with their codecs."""
    folder, manifest = model.folder, model.manifest
    if ROLE not in manifest.files:
        raise WeightsError(
            f"model {manifest.name} has no super-resolution weights; happyhorse train foal-superres makes some"
        )
    keep_freed_memory()
    codecs = load_codecs(model, device)
    return RenderParts(
        model=load_part(folder, manifest, ROLE, Transformer, ModelConfig).to(device),
        video=codecs.video,
        audio=codecs.audio,
        text=Tokenizer.load(),
        settings=Enlarging.from_dict(manifest.superres),
        fingerprint=manifest.fingerprint_of(ROLE),
    )
