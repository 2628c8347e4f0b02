"""The turbo decoder of the 15.3 B model: Wan 2.2 latents to frames at a quarter of that codec's cost; no encoder.

A student that was trained to decode what the Wan 2.2 codec encodes (the design: Zou et al. 2025, "Turbo-VAED", arXiv
2508.09136; the weights: ``turbo_vae`` of GAIR/daVinci-MagiHuman). Its convolutions look both ways in time, so a
clip is decoded in chunks of a few latent frames, each with one frame of context to either side. A chunk knows nothing
of what lies beyond, so that where chunks end is a part of the result, not a matter of memory alone.

Shapes: latent [B, 48, T, H, W], normalised (codecs/wan_scale.py); frames [B, 3, 4 (T - 1) + 1, 16 H, 16 W] in [-1, 1].
Inside, x is [B, C, t, h, w] with channels innermost in memory, which is what convolutions on tensor cores read.
Modules bear the names of the published weights; turbo_published.py reads the files that these come in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.codecs.wan_scale import LATENT_MEAN, LATENT_STD
from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.types import SPACE_STRIDE, TIME_STRIDE

Activation = Callable[[Tensor], Tensor]

COLOURS = 3
PATCH = 2
"""Pixels of a side of the square that the last convolution makes at once."""
NUMBERS_MAX = 2**31 - 1
"""Most numbers in and out of one convolution in time: cuDNN before 9.3 counts them in 32 bits, and what torch turns to
beyond that needs many times the memory. A chunk at 1920 x 1088 is larger."""

BAND_NUMBERS = 2**27
"""Numbers that a block works on at a time; a residual one makes six times as many on the way."""


@dataclasses.dataclass(frozen=True)
class TurboConfig(Config):
    """Geometry of the turbo decoder, in the order of decoding; the defaults are those of the published weights."""

    widths: tuple[int, ...] = (512, 256, 128, 64)
    """Channels of each stage."""
    middle: int = 3
    """Residual blocks before the first stage, as wide as that."""
    resnets: tuple[int, ...] = (3, 2, 2, 2)
    """Residual blocks of each stage."""
    doubles: tuple[str, ...] = ("time and space", "time and space", "space", "nothing")
    """What each stage doubles before its residual blocks."""
    first_chunk: int = 7
    """Latent frames of the first chunk."""
    step: int = 7
    """Latent frames of every later chunk."""
    shortcut_eps: float = 1e-6
    """Added to the mean square in the norm before a shortcut that changes the width."""

    def __post_init__(self) -> None:
        counts = (*self.widths, *self.resnets, self.middle, self.first_chunk, self.step)
        if min(counts) < 1:
            raise ConfigError(f"widths, blocks and chunks are {counts}; each must be at least 1")
        if not len(self.widths) == len(self.resnets) == len(self.doubles):
            raise ConfigError("widths, resnets and doubles must have one value per stage each")
        strangers = set(self.doubles) - {"time and space", "space", "nothing"}
        if strangers:
            raise ConfigError(f"a stage doubles {min(strangers)!r}; it may be time and space, space, or nothing")
        time = 2 ** self.doubles.count("time and space")
        space = PATCH * 2 ** (len(self.doubles) - self.doubles.count("nothing"))
        if (time, space) != (TIME_STRIDE, SPACE_STRIDE):
            raise ConfigError(
                f"these stages make {time} frames of {space} x {space} pixels of a latent cell; "
                f"latents have {TIME_STRIDE} of {SPACE_STRIDE} x {SPACE_STRIDE}"
            )


class TurboDecoder(nn.Module):
    """Decodes normalised latents in the dtype of its weights; frames come out as float32."""

    def __init__(self, config: TurboConfig | None = None) -> None:
        super().__init__()
        self.config = config or TurboConfig()
        self.decoder = Decoder(self.config)

    def decode(self, latent: Tensor) -> Tensor:
        """Latents [B, 48, T, H, W] to frames [B, 3, 4 (T - 1) + 1, 16 H, 16 W] in [-1, 1]."""
        return torch.cat(list(self.decode_chunks(latent, self.config.step)), dim=2)

    def decode_chunks(self, latent: Tensor, chunk: int) -> Iterator[Tensor]:
        """What ``decode`` returns, in parts, each made when it is asked for.

        ``chunk``, the latent frames that the caller would like a part to have, is not followed: parts are the model's
        own (as published, 25 frames, then 28 each, then what is left), since other ones would make other frames.
        """
        for frames in self.raw_chunks(latent):
            yield frames.float().clamp(-1, 1)

    def raw_chunks(self, latent: Tensor) -> Iterator[Tensor]:
        """The parts as the network made them: in the dtype of the weights, and not clamped."""
        z = denormalised(latent).to(self.decoder.conv_in.conv.weight.dtype)
        chunks = plan_chunks(latent.shape[2], self.config.first_chunk, self.config.step)
        missing = chunks[-1].stop - latent.shape[2]
        z = torch.cat([z, z[:, :, -1:].expand(-1, -1, missing, -1, -1)], dim=2)
        for chunk in chunks:
            frames = self.decoder(z[:, :, chunk.start : chunk.stop], chunk.first)
            yield frames[:, :, chunk.skip : chunk.skip + chunk.keep]

    def channels_last(self) -> Self:
        """Lays all kernels out as the convolutions read them, so that they are not laid out again at every call."""
        layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
        for parameter in self.parameters():
            layout = layouts.get(parameter.ndim, torch.contiguous_format)
            parameter.data = parameter.data.contiguous(memory_format=layout)
        return self


def denormalised(latent: Tensor) -> Tensor:
    """Latents [B, 48, T, H, W] as the codec's posterior has them, at least float32: ``latent * std + mean``."""
    std, mean = (torch.tensor(v, device=latent.device)[:, None, None, None] for v in (LATENT_STD, LATENT_MEAN))
    return latent * std + mean


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Latent frames ``start`` to ``stop``, context included, of whose frames ``keep`` are kept after the ``skip``
    first; only the ``first`` chunk has a latent frame that is a single frame."""

    start: int
    stop: int
    skip: int
    keep: int
    first: bool


def plan_chunks(total: int, first: int, step: int) -> list[Chunk]:
    """Chunks that cover ``total`` latent frames, ``first`` of them and then ``step`` at a time.

    Each reads one latent frame of its neighbours to either side. The last one is as long as the others: it goes on
    beyond ``total``, where the caller repeats the last latent frame, and keeps nothing of that.
    """
    assert total >= 1, "a clip has at least one latent frame"
    padded = first + -(-max(0, total - first) // step) * step
    chunks = []
    for low in (0, *range(first, padded, step)):
        high = low + (step if low else first)
        wanted = min(high, total) - low
        chunks.append(
            Chunk(
                start=max(0, low - 1),
                stop=min(padded, high + 1),
                skip=TIME_STRIDE if low else 0,
                keep=TIME_STRIDE * wanted if low else TIME_STRIDE * (wanted - 1) + 1,
                first=low == 0,
            )
        )
    return chunks


class Decoder(nn.Module):
    """The network on one chunk; what it computes depends on shapes and ``first`` alone, so it compiles whole."""

    def __init__(self, config: TurboConfig) -> None:
        super().__init__()
        wide, narrow = config.widths[0], config.widths[-1]
        self.conv_in = TimeConv(len(LATENT_MEAN), wide)
        self.mid_block = Middle(wide, config.middle)
        widths_in = (wide, *config.widths[:-1])
        self.up_blocks = nn.ModuleList(
            [
                Stage(width_in, width, resnets, doubles, config.shortcut_eps)
                for width_in, width, resnets, doubles in zip(
                    widths_in, config.widths, config.resnets, config.doubles, strict=True
                )
            ]
        )
        self.conv_out = TimeConv(narrow, COLOURS * PATCH**2)

    def forward(self, z: Tensor, first: bool) -> Tensor:
        """Unscaled latent [B, 48, t, H, W] to frames [B, 3, 4 t, 16 H, 16 W]; without the 3 first if ``first``."""
        x = self.conv_in(z.contiguous(memory_format=torch.channels_last_3d))
        x = self.mid_block(x)
        for stage in self.up_blocks:
            x = stage(x, first)
        return unpatchify(self.conv_out(F.silu(channel_norm(x))))


class Middle(nn.Module):
    """Residual blocks that change neither width nor size."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(width, width) for _ in range(count)])

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        return x


class Stage(nn.Module):
    """A change of width, a doubling, and residual blocks; the first two only where there is something to change."""

    def __init__(self, width_in: int, width: int, count: int, doubles: str, shortcut_eps: float) -> None:
        super().__init__()
        grows = doubles != "nothing"
        self.conv_in = Resnet(width_in, width, shortcut_eps=shortcut_eps) if width_in != width else nn.Identity()
        self.upsamplers = nn.ModuleList([Upsampler(width, doubles == "time and space")] if grows else [])
        self.resnets = nn.ModuleList([Resnet(width, width, F.relu if grows else F.silu) for _ in range(count)])

    def forward(self, x: Tensor, first: bool) -> Tensor:
        """x [B, width_in, t, h, w] to [B, width, t, h, w], where t, h and w may be doubled."""
        x = self.conv_in(x)
        for upsampler in self.upsamplers:
            x = upsampler(x, first)
        for resnet in self.resnets:
            x = resnet(x)
        return x


class Resnet(nn.Module):
    """Norm, activation, convolution, and once more, beside the input itself or its image in the new width."""

    def __init__(self, width_in: int, width: int, activation: Activation = F.silu, shortcut_eps: float = 1e-6) -> None:
        super().__init__()
        self.activation, self.shortcut_eps = activation, shortcut_eps
        self.conv1 = TimeConv(width_in, width)
        self.conv2 = TimeConv(width, width)
        self.conv_shortcut = TimeConv(width_in, width, (1, 1, 1)) if width_in != width else None

    def forward(self, x: Tensor) -> Tensor:
        return in_bands(self.whole, x, self.conv2.conv.out_channels, halo=2)

    def whole(self, x: Tensor) -> Tensor:
        y = self.conv1(self.activation(channel_norm(x)))
        y = self.conv2(F.silu(channel_norm(y)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(channel_norm(x, self.shortcut_eps))
        return x + y


class Upsampler(nn.Module):
    """Twice as many frames if ``time``, then twice the height and the width."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.time_conv = TimeConv(width, 2 * width, (3, 1, 1)) if time else None
        self.resample = nn.Sequential(Nearest(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, first: bool) -> Tensor:
        """x [B, C, t, h, w] to [B, C, 2 t, 2 h, 2 w], or one frame fewer if ``first``."""
        if self.time_conv is not None:
            x = interleave(self.time_conv(x))[:, :, 1 if first else 0 :]
        return in_bands(self.enlarge, x, x.shape[1], halo=1, scale=2)

    def enlarge(self, x: Tensor) -> Tensor:
        """x [B, C, t, h, w] to [B, C, t, 2 h, 2 w], every frame by itself."""
        pictures = self.resample(x.transpose(1, 2).flatten(0, 1))
        return pictures.unflatten(0, (x.shape[0], -1)).transpose(1, 2)


class Nearest(nn.Module):
    """Pictures [N, C, h, w] at twice the size, every pixel as a square of four.

    Copied by hand: torch's own kernel gives wrong numbers, silently, for pictures of more than 2^31 numbers whose
    channels are innermost (pytorch issue 141831).
    """

    def forward(self, pictures: Tensor) -> Tensor:
        x = pictures.movedim(1, -1)[:, :, None, :, None]  # N h 1 w 1 C
        return x.expand(-1, -1, 2, -1, 2, -1).flatten(3, 4).flatten(1, 2).movedim(-1, 1)


class TimeConv(nn.Module):
    """A convolution over [B, C, t, h, w] of odd ``kernel``, same size out: the first and the last frame are repeated
    beyond the ends, pictures are surrounded by zeros."""

    def __init__(self, width_in: int, width: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__()
        _, height, row = kernel
        self.conv = nn.Conv3d(width_in, width, kernel, padding=(0, height // 2, row // 2))

    def forward(self, x: Tensor) -> Tensor:
        extra = self.conv.kernel_size[0] - 1
        ends = (-1, -1, extra // 2, -1, -1)
        if extra:
            x = torch.cat([x[:, :, :1].expand(ends), x, x[:, :, -1:].expand(ends)], dim=2)
        frames, count = x.shape[2] - extra, self._frames_at_once(x, extra)
        if frames <= count:
            return self.conv(x)
        parts = [self.conv(x[:, :, start : start + count + extra]) for start in range(0, frames, count)]
        return torch.cat(parts, dim=2)

    def _frames_at_once(self, x: Tensor, extra: int) -> int:
        """Frames that NUMBERS_MAX lets one call make."""
        per_frame = max(self.conv.in_channels, self.conv.out_channels) * x[:, 0, 0].numel()
        return max(1, NUMBERS_MAX // per_frame - extra)


def in_bands(run: Callable[[Tensor], Tensor], x: Tensor, width: int, halo: int, scale: int = 1) -> Tensor:
    """``run(x)`` [B, width, t, scale h, scale w], a band of rows at a time where it is larger than BAND_NUMBERS.

    The same numbers with less memory: each band is run with the ``halo`` rows above and below it that it depends on.
    """
    height = x.shape[3]
    per_row = max(x.shape[1], width * scale**2) * x[:, 0, :, 0].numel()
    rows = max(4 * halo, BAND_NUMBERS // per_row)
    if rows >= height:
        return run(x)
    batch, _, frames, _, across = x.shape
    size = frames, scale * height, scale * across
    result = torch.empty(batch, width, *size, dtype=x.dtype, device=x.device, memory_format=torch.channels_last_3d)
    for start in range(0, height, rows):
        stop, low = min(start + rows, height), max(0, start - halo)
        band = run(x[:, :, :, low : stop + halo])
        result[:, :, :, scale * start : scale * stop] = band[:, :, :, scale * (start - low) : scale * (stop - low)]
    return result


def channel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """RMS norm over the channels of every cell of [B, C, t, h, w], without weights."""
    last = x.movedim(1, -1)
    return F.rms_norm(last, last.shape[-1:], eps=eps).movedim(-1, 1)


def interleave(x: Tensor) -> Tensor:
    """[B, 2 C, t, h, w], of which each half of the channels is every second frame, to [B, C, 2 t, h, w]."""
    halves = x.movedim(1, -1).unflatten(-1, (2, -1))  # B t h w 2 C
    return halves.movedim(-2, 2).flatten(1, 2).movedim(-1, 1)


def unpatchify(x: Tensor) -> Tensor:
    """[B, 12, t, h, w] to [B, 3, t, 2 h, 2 w]; channel ``(colour * 2 + column) * 2 + row`` of a square."""
    squares = x.unflatten(1, (COLOURS, PATCH, PATCH))  # B colour column row t h w
    return squares.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)
