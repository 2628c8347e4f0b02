"""The foal's video codec: 48 channels at stride 4 x 16 x 16, light enough for two CPU cores.

A group of four frames is folded into channels and pixels into coarser cells (space-to-depth) before any convolution,
so that almost all work happens at 1/16 to 1/4 of the picture's side. The encoder sees one group of four frames at a
time: a latent frame never depends on its neighbours, so that an image encoded alone is exactly the first latent frame
of a clip (the first group is the first frame, repeated). Both ways start from the principal components of 4 x 16 x 16
patches, a linear map fitted in closed form; convolutions learn what it misses. The decoder mixes neighbouring latent
frames and cells, which hides the seams that a patch-wise codec shows.

Shapes: frames [B, 3, F, height, width] in [-1, 1] with F = 4 (T - 1) + 1; latent [B, 48, T, height / 16, width / 16].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.config import Config
from happyhorse.types import SPACE_STRIDE, TIME_STRIDE

PATCH_VALUES = 3 * TIME_STRIDE * SPACE_STRIDE**2
"""Pixel values that one latent cell stands for."""


@dataclasses.dataclass(frozen=True)
class VideoCodecConfig(Config):
    """Widths of the video codec."""

    channels: int = 48
    """Latent channels."""
    encoder_fine: int = 96
    """Encoder width at 1/8 of the picture's side."""
    encoder_coarse: int = 128
    """Encoder width at 1/16 of the picture's side."""
    decoder_coarse: int = 192
    """Decoder width at 1/16 of the picture's side, where neighbouring latent frames are mixed."""
    decoder_middle: int = 112
    """Decoder width at 1/8 of the picture's side."""
    decoder_fine: int = 64
    """Decoder width at 1/4 of the picture's side."""
    blocks: int = 2
    """Residual blocks at each scale."""


class VideoCodec(nn.Module):
    """Encodes frames to latents of about unit variance and back."""

    DECODING = ("decoder",)
    """Parts that latents do not depend on."""

    patch_mean: Tensor
    """[3072]"""
    components: Tensor
    """Orthonormal rows [48, 3072] over a patch's (colour, frame, row, column)."""
    component_scales: Tensor
    """[48]; the linear part of the unscaled latent is ``component_scales * (components @ (patch - patch_mean))``."""
    scale: Tensor
    """One number that brings latents to about unit variance."""

    def __init__(self, config: VideoCodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("patch_mean", torch.zeros(PATCH_VALUES))
        self.register_buffer("components", torch.eye(PATCH_VALUES)[: config.channels].clone())
        self.register_buffer("component_scales", torch.ones(config.channels))
        self.register_buffer("scale", torch.ones(()))

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, 48, T, H, W] of the latent before scaling; training samples from them."""
        groups = fold_time(frames)
        correction, log_variance = self.encoder(groups).chunk(2, dim=1)
        mean = self.linear_encode(groups) + correction
        batch = frames.shape[0]
        return unflatten_time(mean, batch), unflatten_time(log_variance.clamp(-12, 4), batch)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames in [-1, 1] to their latent (the posterior's mean, scaled to about unit variance)."""
        return self.posterior(frames)[0] * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """Latent to frames in [-1, 1]."""
        return self.reconstruct(latent / self.scale).clamp(-1, 1)

    def decode_chunks(self, latent: Tensor, chunk: int) -> Iterator[Tensor]:
        """What ``decode`` returns, in parts of ``chunk`` latent frames: the memory of a few frames at any size."""
        total, halo = latent.shape[2], self.config.blocks  # each block of the decoder sees one latent frame further
        for start in range(0, total, chunk):
            stop = min(start + chunk, total)
            low, high = max(0, start - halo), min(total, stop + halo)
            frames = self.decode(latent[:, :, low:high])
            before = 0 if start == low else TIME_STRIDE * (start - low - 1) + 1  # the first latent frame is one frame
            count = TIME_STRIDE * (stop - start) - (TIME_STRIDE - 1 if start == 0 else 0)
            yield frames[:, :, before : before + count]

    def reconstruct(self, latent: Tensor) -> Tensor:
        """Unscaled latent to unclamped frames."""
        cells = latent.transpose(1, 2).flatten(0, 1)
        return unfold_time(self.linear_decode(cells) + self.decoder(cells, latent.shape[0]), latent.shape[0])

    def linear_encode(self, groups: Tensor) -> Tensor:
        """Principal components of the patches of groups [B * T, 12, h, w]: [B * T, 48, h / 16, w / 16]."""
        weight = self.components * self.component_scales[:, None]
        return F.conv2d(F.pixel_unshuffle(groups, SPACE_STRIDE), weight[:, :, None, None], -weight @ self.patch_mean)

    def linear_decode(self, cells: Tensor) -> Tensor:
        """Inverse of ``linear_encode`` on what the components span."""
        weight = (self.components / self.component_scales[:, None]).T
        return F.pixel_shuffle(F.conv2d(cells, weight[:, :, None, None], self.patch_mean), SPACE_STRIDE)


def fold_time(frames: Tensor) -> Tensor:
    """Frames [B, 3, 4 (T - 1) + 1, h, w] to groups of four as channels [B * T, 12, h, w]; the first frame stands for
    the whole first group."""
    _, colours, count, _, _ = frames.shape
    assert count % TIME_STRIDE == 1, f"{count} frames are not 4k + 1"
    first = frames[:, :, :1].expand(-1, -1, TIME_STRIDE - 1, -1, -1)
    groups = torch.cat([first, frames], dim=2).unflatten(2, (-1, TIME_STRIDE))
    return groups.transpose(1, 2).reshape(-1, colours * TIME_STRIDE, *frames.shape[-2:])


def unfold_time(groups: Tensor, batch: int) -> Tensor:
    """Inverse of ``fold_time``: [B * T, 12, h, w] to [B, 3, 4 (T - 1) + 1, h, w]."""
    frames = groups.unflatten(0, (batch, -1)).unflatten(2, (-1, TIME_STRIDE))  # B T 3 4 h w
    frames = frames.transpose(1, 2).flatten(2, 3)
    return frames[:, :, TIME_STRIDE - 1 :]


def unflatten_time(x: Tensor, batch: int) -> Tensor:
    """[B * T, C, H, W] to [B, C, T, H, W]."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2)


class Encoder(nn.Module):
    """[B * T, 12, h, w] to the mean's correction and the log-variance [B * T, 96, h / 16, w / 16]."""

    def __init__(self, config: VideoCodecConfig) -> None:
        super().__init__()
        pixels = 3 * TIME_STRIDE * (SPACE_STRIDE // 2) ** 2
        last = zero_init(nn.Conv2d(config.encoder_coarse, 2 * config.channels, 1))
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(SPACE_STRIDE // 2),
            nn.Conv2d(pixels, config.encoder_fine, 1),
            *[ResidualBlock(config.encoder_fine) for _ in range(config.blocks)],
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * config.encoder_fine, config.encoder_coarse, 1),
            *[ResidualBlock(config.encoder_coarse) for _ in range(config.blocks)],
            ChannelNorm(config.encoder_coarse),
            nn.SiLU(),
            last,
        )
        last.bias.data[config.channels :] = -4.0  # type: ignore[index]  # a posterior of standard deviation 0.14

    def forward(self, groups: Tensor) -> Tensor:
        return self.layers(groups)


class Decoder(nn.Module):
    """What the linear decoder misses, from unscaled cells [B * T, 48, H, W]: groups of four frames
    [B * T, 12, 16 H, 16 W]; starts at zero."""

    def __init__(self, config: VideoCodecConfig) -> None:
        super().__init__()
        coarse, middle, fine = config.decoder_coarse, config.decoder_middle, config.decoder_fine
        self.conv_in = nn.Conv2d(config.channels, coarse, 3, padding=1)
        self.time = nn.ModuleList([TimeMix(coarse) for _ in range(config.blocks)])
        self.coarse = nn.ModuleList([ResidualBlock(coarse) for _ in range(config.blocks)])
        self.fine = nn.Sequential(
            nn.Conv2d(coarse, 4 * middle, 1),
            nn.PixelShuffle(2),
            *[ResidualBlock(middle) for _ in range(config.blocks)],
            nn.Conv2d(middle, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            *[ResidualBlock(fine) for _ in range(config.blocks)],
            ChannelNorm(fine),
            nn.SiLU(),
            zero_init(nn.Conv2d(fine, 3 * TIME_STRIDE * (SPACE_STRIDE // 4) ** 2, 3, padding=1)),
            nn.PixelShuffle(SPACE_STRIDE // 4),
        )

    def forward(self, cells: Tensor, batch: int) -> Tensor:
        x = self.conv_in(cells)
        for time, block in zip(self.time, self.coarse, strict=True):
            x = block(time(x, batch))
        return self.fine(x)


class ChannelNorm(nn.Module):
    """RMS norm over the channels of every cell, [B, C, H, W]: the same for every picture size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        return F.rms_norm(x.permute(0, 2, 3, 1), weight.shape, weight, 1e-5).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Norm and two 3 x 3 convolutions beside an identity; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = zero_init(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class TimeMix(nn.Module):
    """A 3-tap convolution over latent frames at every cell, beside an identity; the ends are repeated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.mix = zero_init(nn.Conv2d(3 * width, width, 1))

    def forward(self, x: Tensor, batch: int) -> Tensor:
        """x [B * T, C, H, W], same shape out."""
        y = F.silu(self.norm(x)).unflatten(0, (batch, -1))  # B T C H W
        before = torch.cat([y[:, :1], y[:, :-1]], dim=1)
        after = torch.cat([y[:, 1:], y[:, -1:]], dim=1)
        return x + self.mix(torch.cat([before, y, after], dim=2).flatten(0, 1))


def zero_init(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, with weights and bias at zero."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
