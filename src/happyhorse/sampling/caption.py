"""From a clip to its prompt: the words one after the other, each the likeliest."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from happyhorse.codecs.codec import AudioCoder, VideoCoder
from happyhorse.codecs.images import fit_image
from happyhorse.codecs.text import BOS, EOS, TEXT_LIMIT, Tokenizer
from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import conditions
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Film, Sound
from happyhorse.sampling.pipeline import load_codecs, load_part
from happyhorse.sampling.request import Sampling, choose_size
from happyhorse.types import ClipShape, Latents
from happyhorse.weights.registry import resolve


@dataclasses.dataclass(frozen=True)
class Captioner:
    """A model with a language head, its codecs and its vocabulary."""

    model: Transformer
    video: VideoCoder
    audio: AudioCoder
    text: Tokenizer
    sampling: Sampling
    device: torch.device

    @classmethod
    def from_pretrained(cls, model: str | Path = "foal-base", device: torch.device | str | None = None) -> Captioner:
        """Raises WeightsError if the model cannot be read, ConfigError if it has no language head."""
        found, chosen = resolve(model), find_device(device)
        folder, manifest = found.folder, found.manifest
        transformer = load_part(folder, manifest, found.generator, Transformer, ModelConfig).to(chosen)
        if not transformer.config.language_head:
            raise ConfigError(
                f"{manifest.name_of(found.generator)} has no language head; "
                "happyhorse train foal-caption makes a model that has one"
            )
        codecs = load_codecs(found, chosen)
        sampling = Sampling.from_dict(manifest.sampling_of(found.generator))
        return cls(transformer, codecs.video, codecs.audio, Tokenizer.load(), sampling, chosen)

    def __call__(self, film: Film, sound: Sound) -> str:
        """What a clip shows and sounds like; its first seconds are read, as many as the model's own clips have."""
        with torch.inference_mode():
            return self.write(self.encode(film, sound))

    def encode(self, film: Film, sound: Sound) -> Latents:
        """A clip as latents, cropped and resized to the size that is nearest in aspect."""
        width, height = choose_size(self.sampling, None, film.aspect)
        seconds = min(film.seconds, self.sampling.seconds)
        shape = ClipShape(max(seconds, self.sampling.seconds_min), height, width)
        rows = np.minimum(np.arange(shape.padded_frames), len(film.frames) - 1)
        frames = np.stack([fit_image(film.frames[row], height, width) for row in rows])
        samples = shape.padded_frames * SAMPLE_RATE // FPS
        wave = np.pad(sound.waveform[:samples], (0, max(0, samples - len(sound.waveform))))
        video = self.video.encode(conditions.picture(frames).to(self.device))
        return Latents(video, self.audio.encode(torch.from_numpy(wave)[None].to(self.device)))

    def write(self, latents: Latents) -> str:
        """The caption of one clip's latents."""
        return self.text.decode(greedy(self.model, latents))


def greedy(model: Transformer, latents: Latents, limit: int = TEXT_LIMIT) -> list[int]:
    """The likeliest tokens one after the other, up to the end mark or to ``limit``; the marks are left out.

    The clip is read once: every word sees its keys and values, and those of the words before.
    """
    seen = model.encode_media(latents)
    words, token = list[int](), BOS
    while len(words) < limit:
        logits, rows = model.caption_logits(_token(token, latents.video), seen, start=len(words))
        token = int(logits[0, -1].argmax())
        if token == EOS:
            break
        words.append(token)
        seen = seen.joined(rows)
    return words


def _token(token: int, like: Tensor) -> Tensor:
    return torch.tensor([[token]], device=like.device)
