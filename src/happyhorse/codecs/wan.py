"""The public Wan 2.2 video codec (Wan-AI/Wan2.2-TI2V-5B, ``Wan2.2_VAE.pth``), run by diffusers' ``AutoencoderKLWan``.

48 channels at stride 4 x 16 x 16; causal in time, so that an image alone is the first latent frame of its clip. Latents
are normalised channel by channel with the constants of ``wan_scale``.

Shapes: frames [B, 3, F, height, width] in [-1, 1] with F = 4 (T - 1) + 1; latent [B, 48, T, height / 16, width / 16].
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from happyhorse.codecs.wan_scale import LATENT_MEAN, LATENT_STD
from happyhorse.config import Config
from happyhorse.errors import MissingToolError, WeightsError
from happyhorse.types import SPACE_STRIDE, TIME_STRIDE

PATCH = 2
"""Pixels, each way, that are folded into channels before the first convolution."""


@dataclasses.dataclass(frozen=True)
class WanConfig(Config):
    """Geometry of the codec; the defaults are the published one."""

    encoder_width: int = 160
    """Encoder width at half the picture's side, times ``multiples`` further in."""
    decoder_width: int = 256
    """The same of the decoder."""
    multiples: tuple[int, ...] = (1, 2, 4, 4)
    """Width of each level in multiples of the first; between two levels the picture's side is halved."""
    blocks: int = 2
    """Residual blocks of an encoder level; a decoder level has one more."""
    halves_time: tuple[bool, ...] = (False, True, True)
    """Whether the frame rate is halved too between two levels of the encoder."""
    decoder: bool = True
    """False: only the half that encodes is built."""


class WanVideoCodec(nn.Module):
    """Frames to normalised latents and back, in the dtype of the weights; what comes out is float32.

    The published pipeline runs it in bfloat16, the constants of the scale included. Raises MissingToolError without
    diffusers.
    """

    def __init__(self, config: WanConfig) -> None:
        super().__init__()
        self.config = config
        self.autoencoder = _autoencoder(config)
        self.eval().requires_grad_(False)

    def encode(self, frames: Tensor) -> Tensor:
        """Frames in [-1, 1] to their latent: the mean of the posterior, normalised; float32."""
        count, height, width = frames.shape[2:]
        assert count % TIME_STRIDE == 1, f"{count} frames are not 4k + 1"
        assert height % SPACE_STRIDE == 0 and width % SPACE_STRIDE == 0, f"{width} x {height} is not a multiple of 16"
        mean, factor = self._scale()
        posterior = self.autoencoder.encode(frames.to(mean.dtype)).latent_dist
        return ((posterior.mode() - mean) * factor).float()

    def decode(self, latent: Tensor) -> Tensor:
        """Normalised latent to frames in [-1, 1], float32."""
        (frames,) = self.decode_chunks(latent, latent.shape[2])
        return frames

    def decode_chunks(self, latent: Tensor, chunk: int) -> Iterator[Tensor]:
        """Exactly what ``decode`` returns, in parts of ``chunk`` latent frames.

        The decoder always works on one latent frame at a time and remembers the last frames that its convolutions
        saw, so that memory does not grow with the clip and there are no seams to hide.
        """
        assert chunk >= 1, f"a chunk of {chunk} latent frames"
        frames = self.reconstruct(latent)
        while part := list(itertools.islice(frames, chunk)):
            yield torch.cat(part, dim=2).float().clamp_(-1, 1)

    def reconstruct(self, latent: Tensor) -> Iterator[Tensor]:
        """Unclamped frames of one latent frame after the other: [B, 3, 1, ...] first, then [B, 3, 4, ...] each."""
        assert self.config.decoder, "this codec was built without its decoder"
        mean, factor = self._scale()
        cells = self.autoencoder.post_quant_conv(latent.to(mean.dtype) / factor + mean)
        memory = [None] * sum(isinstance(layer, nn.Conv3d) for layer in self.autoencoder.decoder.modules())
        for index, cell in enumerate(cells.split(1, dim=2)):
            patches = self.autoencoder.decoder(cell, feat_cache=memory, feat_idx=[0], first_chunk=index == 0)
            yield unfold_patches(patches)

    def _scale(self) -> tuple[Tensor, Tensor]:
        """Mean and reciprocal standard deviation [48, 1, 1, 1] as the published code rounds them."""
        weight = self.autoencoder.quant_conv.weight
        mean, std = torch.tensor([LATENT_MEAN, LATENT_STD], dtype=weight.dtype, device=weight.device)
        return mean[:, None, None, None], 1 / std[:, None, None, None]


def unfold_patches(patches: Tensor) -> Tensor:
    """[B, 12, F, h, w] to frames [B, 3, F, 2 h, 2 w]; channels are ordered (colour, column, row)."""
    cells = patches.unflatten(1, (-1, PATCH, PATCH))  # B C x y F h w
    return cells.permute(0, 1, 4, 5, 3, 6, 2).flatten(5, 6).flatten(3, 4)


def _autoencoder(config: WanConfig) -> Any:
    try:
        from diffusers import AutoencoderKLWan
    except ImportError as error:
        raise MissingToolError("the Wan 2.2 codec needs diffusers: pip install 'happyhorse[magihuman]'") from error
    autoencoder: Any = AutoencoderKLWan(
        base_dim=config.encoder_width,
        decoder_base_dim=config.decoder_width,
        z_dim=len(LATENT_MEAN),
        dim_mult=list(config.multiples),
        num_res_blocks=config.blocks,
        temperal_downsample=list(config.halves_time),
        latents_mean=list(LATENT_MEAN),
        latents_std=list(LATENT_STD),
        is_residual=True,
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        patch_size=PATCH,
        scale_factor_temporal=TIME_STRIDE,
        scale_factor_spatial=SPACE_STRIDE,
    )
    if not config.decoder:
        autoencoder.decoder = autoencoder.post_quant_conv = None
    return autoencoder


# Public names to those of AutoencoderKLWan: where a layer sits, and then what it is called there.

_LEVEL = r"encoder\.downsamples\.(\d+)\.downsamples\.", r"decoder\.upsamples\.(\d+)\.upsamples\."
_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_ATTENTION = {"norm": "norm", "to_qkv": "to_qkv", "proj": "proj"}
_RESAMPLE = {"resample.1": "resample.1", "time_conv": "time_conv"}
_SINGLE = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    **{f"{half}.conv1": f"{half}.conv_in" for half in ("encoder", "decoder")},
    **{f"{half}.head.0": f"{half}.norm_out" for half in ("encoder", "decoder")},
    **{f"{half}.head.2": f"{half}.conv_out" for half in ("encoder", "decoder")},
}
_PLACES = (
    (r"(encoder|decoder)\.middle\.0\.", r"\1.mid_block.resnets.0.", _RESIDUAL),
    (r"(encoder|decoder)\.middle\.1\.", r"\1.mid_block.attentions.0.", _ATTENTION),
    (r"(encoder|decoder)\.middle\.2\.", r"\1.mid_block.resnets.1.", _RESIDUAL),
    (_LEVEL[0] + r"(\d+)\.(?=residual|shortcut)", r"encoder.down_blocks.\1.resnets.\2.", _RESIDUAL),
    (_LEVEL[1] + r"(\d+)\.(?=residual|shortcut)", r"decoder.up_blocks.\1.resnets.\2.", _RESIDUAL),
    (_LEVEL[0] + r"\d+\.", r"encoder.down_blocks.\1.downsampler.", _RESAMPLE),
    (_LEVEL[1] + r"\d+\.", r"decoder.up_blocks.\1.upsampler.", _RESAMPLE),
    (r"", r"", _SINGLE),
)


def wan_names(names: Iterable[str], decoder: bool = True) -> dict[str, str]:
    """Names of the public checkpoint to names in the state dict of ``WanVideoCodec``.

    Without ``decoder`` the names of the half that decodes are left out. Raises WeightsError for a name that the public
    checkpoint does not have.
    """
    kept = (name for name in names if decoder or not name.startswith(("decoder.", "conv2.")))
    return {name: f"autoencoder.{_library_name(name)}" for name in kept}


def _library_name(name: str) -> str:
    layer, _, tensor = name.rpartition(".")
    for pattern, place, layers in _PLACES:
        match = re.match(pattern, layer)
        if match and layer[match.end() :] in layers and tensor in ("weight", "bias", "gamma"):
            return f"{match.expand(place)}{layers[layer[match.end() :]]}.{tensor}"
    raise WeightsError(f"{name} is no tensor of the Wan 2.2 codec; the file wanted is Wan2.2_VAE.pth")
