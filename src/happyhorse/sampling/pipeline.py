"""From a prompt to a clip.

``Pipeline.from_pretrained("foal")("a red ball bounces on wood", seed=7).save("ball.mp4")``
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from happyhorse import __version__
from happyhorse.clip import Clip
from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
from happyhorse.codecs.codec import AudioCoder, Codecs, TextCoder, VideoCoder
from happyhorse.codecs.text import Tokenizer
from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.compile.heap import keep_freed_memory
from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.flow.guidance import GuidanceScale, Velocity, guide
from happyhorse.flow.timesteps import grid
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import conditions, samplers
from happyhorse.sampling.compiled import Compiling
from happyhorse.sampling.given import SAMPLE_RATE, Given, load_film, load_image, load_sound
from happyhorse.sampling.request import Request, Sampling, make_request
from happyhorse.types import ClipShape, Known, Latents
from happyhorse.weights.registry import Model, resolve
from happyhorse.weights.store import Manifest, load_config, load_module, verified

VIDEO_CHANNELS = 48
AUDIO_CHANNELS = 64
NOTHING = Given()
"""Nothing is given."""

Progress = Callable[[str, int, int], None]
"""Called with a stage ("read", "denoise", "picture", "sound"), what is done of it and its total."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """Everything that a pipeline is made of."""

    model: nn.Module
    """Velocity of the noisy latents: called with (Latents, Text or what its encode_text returned)."""
    video: VideoCoder
    audio: AudioCoder
    text: TextCoder
    sampling: Sampling
    """Defaults and limits."""
    name: str
    """The model's name, for recipes."""
    fingerprint: str
    """Hash over all weights, for recipes."""


class Pipeline:
    """A model with its codecs, ready to make clips. The same seed on the same machine gives the same bytes.

    That holds for clips whose recipes say the same of compiling: between those that do not, picture and sound differ
    by rounding.
    """

    def __init__(self, parts: Parts, device: torch.device | str = "cpu", compiling: Compiling | None = None) -> None:
        self.parts = parts
        self.device = torch.device(device)
        self.compiling = compiling or Compiling(parts.model)

    @classmethod
    def from_pretrained(
        cls, model: str | Path = "foal", device: torch.device | str | None = None, compile: str = "auto"
    ) -> Pipeline:
        """Loads a model by its name, folder or weight file; ``device`` is the CPU unless given.

        ``compile`` is "auto" (compiled code is used if it is at hand, or if the work is worth making it), "off", or
        "max" (made if it is not at hand, and of the fastest kind). Raises WeightsError if the model is unknown, or if
        a weight file is missing, damaged or does not fit, ConfigError for another ``compile``.
        """
        device = find_device(device)
        parts = load_parts(resolve(model), device)
        return cls(parts, device, Compiling(parts.model, compile))

    def __call__(
        self,
        prompt: str,
        *,
        seconds: float | None = None,
        size: str | tuple[int, int] | None = None,
        seed: int | None = None,
        steps: int | None = None,
        guidance: float | tuple[float, float] | None = None,
        negative: str = "",
        image: Path | str | NDArray[np.uint8] | None = None,
        last_image: Path | str | NDArray[np.uint8] | None = None,
        audio: Path | str | NDArray[np.float32] | None = None,
        video: Path | str | NDArray[np.uint8] | None = None,
        sampler: str | None = None,
        shift: float | None = None,
        on_progress: Progress | None = None,
    ) -> Clip:
        """Makes one clip. What is not given comes from the model's own defaults; a missing seed is drawn and recorded.

        ``size`` is (width, height), "WxH" or an aspect ("1:1", "16:9", "9:16"); ``guidance`` one weight or a pair
        (picture, sound). Media are files or arrays: ``image`` and ``last_image`` (uint8 [rows, columns, 3]) become
        the first and the last frame; ``audio`` (float32 [S] at 24 kHz) is a sound to make the picture for, ``video``
        (uint8 [F, rows, columns, 3] at 24 frames a second) a silent film to make the sound for; the clip keeps either
        as it is, and is as long unless ``seconds`` says otherwise.
        Raises PromptError, SizeError, ConfigError or MediaError for what cannot be made.
        """
        given = Given(load_image(image), load_image(last_image), load_sound(audio), load_film(video))
        request = make_request(
            self.parts.sampling,
            prompt,
            negative=negative,
            seconds=given.seconds(self.parts.sampling.seconds_max) if seconds is None else seconds,
            size=size,
            seed=seed,
            steps=steps,
            guidance=guidance,
            sampler=sampler,
            shift=shift,
            image_aspect=given.aspect,
        )
        return self.make(request, given, on_progress)

    def make(self, request: Request, given: Given = NOTHING, on_progress: Progress | None = None) -> Clip:
        """The clip of a complete request, around what is given. Raises SizeError if a film is too short for it."""
        given.check(request.shape)
        watch = Stopwatch(on_progress)
        with torch.inference_mode():
            latents = self.generate_latents(request, given, watch)
            frames, audio = given.kept(*self.decode(latents, request.shape, watch))
        recipe = {**self.made_by(), **request.recipe(), **given.sources()}
        return Clip(frames, audio, request.shape.fps, SAMPLE_RATE, recipe, watch.seconds, latents)

    def made_by(self) -> dict[str, Any]:
        """What recipes say of the pipeline, after it has made a clip."""
        made = {"happyhorse": __version__, "model": self.parts.name, "weights": self.parts.fingerprint}
        return {**made, **self.compiling.recipe}

    def generate_latents(self, request: Request, given: Given, watch: Stopwatch) -> Latents:
        """Clean latents, batch 1, of a request."""
        generator = torch.Generator().manual_seed(request.seed)
        noise = draw_noise(request.shape, generator).to(self.device)
        with watch.stage("read", 1):
            known = given.known(noise, request.shape, self.parts.video, self.parts.audio)
        return self.denoise(request, noise, known, generator, watch)

    def denoise(
        self, request: Request, noise: Latents, known: Known | None, generator: torch.Generator, watch: Stopwatch
    ) -> Latents:
        """Clean latents from ``noise``, around what is known; ``generator`` draws what noise the sampler adds."""
        with watch.stage("denoise", request.steps) as advance:
            sigmas = grid(request.steps, request.shift)
            velocity = self._velocity(request, noise, sigmas)
            return samplers.BY_NAME[request.sampler](
                velocity, noise, sigmas, known=known, generator=generator, on_step=lambda done, _: advance(done)
            )

    def _velocity(self, request: Request, like: Latents, sigmas: Sequence[float]) -> list[Velocity]:
        """The guided velocity at each level: the prompt and the negative prompt go through the model as one batch of
        two. Only a model with timestep = "embedded" is told the level."""
        model: Any = self.parts.model
        scale = GuidanceScale(*request.guidance)
        prompts = [request.prompt] if scale.is_plain else [request.prompt, request.negative]
        text = self.parts.text.batch(prompts).to(self.device)
        # Keys and values of the prompt are the same at every step, as is the arrangement of the rows.
        text = model.encode_text(text) if model.config.text == "tokens" else text
        batch = _repeat(like, len(prompts))
        layout = model.layout(batch, text)
        model = self.compiling.pick(batch, text, layout, len(sigmas) - 1)

        def field(sigma: float) -> Velocity:
            timed = model.config.timestep == "embedded"
            times = torch.full((len(prompts), 2), sigma, device=self.device) if timed else None

            def velocity(latents: Latents) -> Latents:
                if scale.is_plain:
                    return model(latents, text, layout, times)
                both = model(_repeat(latents, 2), text, layout, times)
                return guide(both[:1], both[1:], scale)

            return velocity

        return [field(sigma) for sigma in sigmas[:-1]]

    def decode(self, latents: Latents, shape: ClipShape, watch: Stopwatch) -> tuple[NDArray, NDArray]:
        """Frames uint8 [F, height, width, 3] and sound float32 [1, 1000 F], trimmed to the clip's length."""
        with watch.stage("picture", 1):
            frames = conditions.pixels(self.parts.video.decode(latents.video))[: shape.frames]
        with watch.stage("sound", 1):
            audio = self.parts.audio.decode(latents.audio).float().cpu().numpy()
        return frames, audio[:, : shape.frames * SAMPLE_RATE // shape.fps]


class Stopwatch:
    """Seconds spent in each stage, told to a listener as they go by."""

    def __init__(self, listener: Progress | None = None) -> None:
        self.listener = listener
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Times a stage; yields a function to tell how much of ``total`` is done."""

        def tell(done: int) -> None:
            if self.listener:
                self.listener(name, done, total)

        began = time.perf_counter()
        tell(0)
        yield tell
        tell(total)
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - began, 3)


def draw_noise(shape: ClipShape, generator: torch.Generator) -> Latents:
    """Unit noise of one clip, drawn on the CPU so that a seed means the same on every device."""
    video = torch.randn(1, VIDEO_CHANNELS, *shape.latent_size, generator=generator)
    return Latents(video, torch.randn(1, shape.audio_latents, AUDIO_CHANNELS, generator=generator))


def _repeat(latents: Latents, count: int) -> Latents:
    return latents.map(lambda stream: torch.cat([stream] * count))


def load_parts(model: Model, device: torch.device) -> Parts:
    """Loads a model and its codecs. Raises WeightsError if anything is missing or does not fit.

    From here on the process keeps memory that it frees (``compile/heap.py``): a step is a quarter faster by it.
    """
    keep_freed_memory()
    folder, manifest, generator = model.folder, model.manifest, model.generator
    codecs = load_codecs(model, device)
    return Parts(
        model=load_part(folder, manifest, generator, Transformer, ModelConfig).to(device),
        video=codecs.video,
        audio=codecs.audio,
        text=Tokenizer.load(),
        sampling=Sampling.from_dict(manifest.sampling_of(generator)),
        name=manifest.name_of(generator),
        fingerprint=manifest.fingerprint_of(generator),
    )


def load_codecs(model: Model, device: torch.device) -> Codecs:
    """The codecs in a model's folder."""
    folder, manifest = model.folder, model.manifest
    return Codecs(
        load_part(folder, manifest, "video", VideoCodec, VideoCodecConfig).to(device),
        load_part(folder, manifest, "audio", AudioCodec, AudioCodecConfig).to(device),
    )


def load_part(folder: Path, manifest: Manifest, role: str, kind: Any, config: Any) -> Any:
    """The module of a role, ready to be used and not to be trained."""
    path = verified(folder, manifest, role)
    module = kind(load_config(config, path))
    load_module(module, path)
    return module.eval().requires_grad_(False)
