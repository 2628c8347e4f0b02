"""Clips generated during training, for people to look at."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from happyhorse.codecs.codec import Codecs, TextCoder
from happyhorse.files import whole_file
from happyhorse.flow.guidance import GuidanceScale, guide
from happyhorse.flow.timesteps import grid
from happyhorse.recipes.recipe import SampleConfig
from happyhorse.sampling.samplers import euler
from happyhorse.training.checkpoint import TrainState
from happyhorse.types import Latents

SHIFT = 3.0


@dataclasses.dataclass(frozen=True)
class SampleWriter:
    """Generates the configured prompts with the averaged weights and writes a clip for each."""

    config: SampleConfig
    channels: tuple[int, int]
    """Channels of video and audio latents."""
    text: TextCoder
    folder: Path
    device: torch.device
    codecs: Codecs | None = None
    """Without codecs, latents are written."""

    def __call__(self, state: TrainState) -> None:
        if not self.config.prompts:
            return
        with state.average.applied():
            latents = self.generate(state.model)
        self.folder.mkdir(exist_ok=True)
        stem = self.folder / f"step-{state.step:08d}"
        if self.codecs is None or not _can_write_clips():
            with whole_file(stem.with_suffix(".safetensors")) as path:
                path.write_bytes(save({"video": latents.video.half().cpu(), "audio": latents.audio.half().cpu()}))
        else:
            write_clips(stem, latents, self.codecs, self.config)

    @torch.no_grad()
    def generate(self, model: Any) -> Latents:
        """Latents for all prompts in one batch, always from the same noise."""
        count, shape = len(self.config.prompts), self.config.shape
        generator = torch.Generator().manual_seed(0)
        video = torch.randn(count, self.channels[0], *shape.latent_size, generator=generator)
        audio = torch.randn(count, shape.audio_latents, self.channels[1], generator=generator)
        text = self.text.batch([*self.config.prompts, *[""] * count]).to(self.device)
        cache = model.encode_text(text) if model.config.text == "tokens" else text
        scale = GuidanceScale(self.config.guidance, self.config.guidance)

        def velocity(latents: Latents) -> Latents:
            both = model(latents.map(lambda x: torch.cat([x, x])), cache)
            return guide(both[:count], both[count:], scale)

        noise = Latents(video, audio).to(self.device)
        return euler(velocity, noise, grid(self.config.steps, SHIFT), known=None, generator=generator, on_step=None)


def _can_write_clips() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


@torch.no_grad()
def write_clips(stem: Path, latents: Latents, codecs: Codecs, config: SampleConfig) -> None:
    """Decodes latents and writes ``<stem>-0.mp4``, ``<stem>-1.mp4``, ..."""
    from happyhorse.codecs.media import write_mp4
    from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE

    frames, samples = config.shape.frames, round(config.shape.frames / FPS * SAMPLE_RATE)
    for index, prompt in enumerate(config.prompts):
        one = latents[index : index + 1]
        pixels = ((codecs.video.decode(one.video)[0] + 1) * 127.5).round().clamp(0, 255).byte()
        picture = pixels.permute(1, 2, 3, 0)[:frames].cpu().numpy()
        sound = codecs.audio.decode(one.audio)[:, :samples].float().cpu().numpy()
        write_mp4(stem.with_name(f"{stem.name}-{index}.mp4"), picture, sound, FPS, SAMPLE_RATE, prompt)
