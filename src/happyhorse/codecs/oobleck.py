"""The public sound codec of Stable Audio Open 1.0, run by diffusers' ``AutoencoderOobleck``: stereo, 64 channels.

A latent stands for 2048 samples. The codec was trained at 44,100 Hz, but the 15.3 B model takes its sound as if it were
sampled at 51,200 Hz: then there are 25 latents per second, one per video frame. ``encode`` and ``decode`` read and make
such sound; ``codecs.resample`` brings it to and from the 44,100 Hz of a file.

Shapes: waveform [B, 2, S]; latent [B, Na, 64] with Na = S // 2048.
"""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from happyhorse.config import Config
from happyhorse.errors import MediaError, MissingToolError, WeightsError

PUBLIC_PREFIX = "pretransform.model."
"""Starts the codec's names in the public file, which holds a whole text-to-music model."""


@dataclasses.dataclass(frozen=True)
class OobleckConfig(Config):
    """Geometry of the codec; the defaults are the published one."""

    channels: int = 64
    """Latent channels."""
    width: int = 128
    """Channels of the first convolution."""
    multiples: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Width of each level in multiples of ``width``."""
    strides: tuple[int, ...] = (2, 4, 4, 8, 8)
    """By how much each level of the encoder shortens the sound."""
    window: int = 725
    """Latents that are encoded at once (29 s); longer sound is read in windows that overlap by half."""

    @property
    def stride(self) -> int:
        """Samples per latent."""
        return math.prod(self.strides)


class StableAudioCodec(nn.Module):
    """Stereo sound to latents and back. The published pipeline runs it in float32.

    Raises MissingToolError without diffusers.
    """

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = _autoencoder(config)
        self.eval().requires_grad_(False)

    def encode(self, waveform: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Waveform [B, 2, S] to latents [B, Na, 64], float32: the posterior's mean, or with ``generator`` a sample.

        Samples past the last whole latent only colour that latent. Raises MediaError for less than one latent.
        """
        mean, stdev = self.posterior(waveform)
        if generator is None:
            return mean
        noise = torch.randn(mean.transpose(1, 2).shape, generator=generator, device=generator.device)
        return mean + stdev * noise.transpose(1, 2).to(mean)

    def posterior(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, Na, 64] of the latents, float32."""
        stride, samples = self.config.stride, waveform.shape[-1]
        count = samples // stride
        if not count:
            raise MediaError(f"the sound has {samples} samples and one latent needs {stride}; give a longer one")
        spans = windows(count, self.config.window)
        parts = [waveform[..., a * stride : b * stride if b < count else samples] for a, b in spans]
        means, stdevs = zip(*(self._moments(part) for part in parts), strict=True)
        step = hop(self.config.window)
        return crossfade(means, step), crossfade(stdevs, step)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, Na, 64] to waveform [B, 2, 2048 Na], float32; about [-1, 1], not clamped."""
        dtype = next(self.parameters()).dtype
        return self.autoencoder.decode(latent.transpose(1, 2).to(dtype)).sample.float()

    def _moments(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, n, 64] of one window."""
        posterior = self.autoencoder.encode(waveform.to(next(self.parameters()).dtype)).latent_dist
        return posterior.mean.transpose(1, 2).float(), posterior.std.transpose(1, 2).float()


def hop(window: int) -> int:
    """Latents from the start of one window to that of the next: half a window, rounded up to whole latents."""
    return (window + 1) // 2


def windows(count: int, window: int) -> list[tuple[int, int]]:
    """(start, stop) of the windows that cover ``count`` latents; all but the last are full."""
    spans = [(0, min(window, count))]
    while spans[-1][1] < count:
        start = spans[-1][0] + hop(window)
        spans.append((start, min(start + window, count)))
    return spans


def crossfade(parts: Sequence[Tensor], step: int) -> Tensor:
    """Parts [B, n, C] that start ``step`` latents apart, as one [B, Na, C]; where two overlap, a linear blend.

    All parts but the last have the same n. The weight of the later part rises from 0 by 1 / overlap per latent.
    """
    whole = parts[0]
    for index, part in enumerate(parts[1:], start=1):
        start = index * step
        overlap = whole.shape[1] - start
        weight = (torch.arange(overlap, device=part.device) / max(overlap, 1))[:, None].to(part.dtype)
        blend = torch.lerp(whole[:, start:], part[:, :overlap], weight)
        whole = torch.cat([whole[:, :start], blend, part[:, overlap:]], dim=1)
    return whole


class Snake(nn.Module):
    """x + sin^2(exp(alpha) x) / exp(beta), channel by channel (Ziyin et al. 2020); x [B, C, S].

    The library's own has alpha and beta as [1, C, 1]; the public file keeps [C], and so does this.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]
        return x + (alpha * x).sin().square() / (beta + 1e-9)


def _autoencoder(config: OobleckConfig) -> Any:
    try:
        from diffusers import AutoencoderOobleck
    except ImportError as error:
        raise MissingToolError("the sound codec needs diffusers: pip install 'happyhorse[magihuman]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about the weight_norm that gives the public names
        autoencoder: Any = AutoencoderOobleck(
            encoder_hidden_size=config.width,
            downsampling_ratios=list(config.strides),
            channel_multiples=list(config.multiples),
            decoder_channels=config.width,
            decoder_input_channels=config.channels,
        )
        if 2 * config.channels != config.width:  # the library takes these for the same number
            top = nn.Conv1d(config.width * config.multiples[-1], 2 * config.channels, 3, padding=1)
            autoencoder.encoder.conv2 = nn.utils.weight_norm(top)
    _replace_snakes(autoencoder)
    return autoencoder


def _replace_snakes(autoencoder: nn.Module) -> None:
    for parent in list(autoencoder.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "Snake1d":
                setattr(parent, name, Snake(child.alpha.numel()))  # type: ignore[union-attr]


# Public names to those of AutoencoderOobleck: a residual unit is (snake, conv, snake, conv) in both.

_PUBLIC_NAME = re.compile(
    r"(encoder|decoder)\.layers\.(\d+)(?:\.layers\.([0-4]))?(?:\.layers\.([0-3]))?\.(alpha|beta|bias|weight_g|weight_v)"
)
_LEVELS = {
    "encoder": ("res_unit1", "res_unit2", "res_unit3", "snake1", "conv1"),
    "decoder": ("snake1", "conv_t1", "res_unit1", "res_unit2", "res_unit3"),
}
_UNIT = ("snake1", "conv1", "snake2", "conv2")


def oobleck_names(names: Iterable[str]) -> dict[str, str]:
    """Names of the public checkpoint to names in the state dict of ``StableAudioCodec``.

    The names may be those of the whole public file, of which only those of the codec are kept, or those of the codec
    alone. Raises WeightsError for a name that the codec does not have.
    """
    names = list(names)
    whole = any(name.startswith(PUBLIC_PREFIX) for name in names)
    kept = [name for name in names if name.startswith(PUBLIC_PREFIX) or not whole]
    return {name: f"autoencoder.{_library_name(name.removeprefix(PUBLIC_PREFIX))}" for name in kept}


def _library_name(name: str) -> str:
    """Such as encoder.layers.2.layers.0.layers.3.bias to encoder.block.1.res_unit1.conv2.bias."""
    match = _PUBLIC_NAME.fullmatch(name)
    if match is None:
        raise WeightsError(f"{name} is no tensor of the Stable Audio Open codec; the file wanted is model.safetensors")
    half, level, place, layer, tensor = match.groups()
    if place is None:  # the first convolution, or the snake and the convolution at the end
        only = "snake1" if tensor in ("alpha", "beta") else "conv1" if level == "0" else "conv2"
        return f"{half}.{only}.{tensor}"
    parts = [half, "block", str(int(level) - 1), _LEVELS[half][int(place)]]
    if layer is not None:
        parts.append(_UNIT[int(layer)])
    return ".".join([*parts, tensor])
