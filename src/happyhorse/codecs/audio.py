"""The foal's sound codec: 24 kHz mono, 64 channels, one latent per video frame.

Four log-mel columns (320 numbers) make one latent by a linear map of principal components; a small convolutional
decoder undoes it with a look at the neighbouring frames; a vocoder of the inverse-STFT kind (ConvNeXt blocks that
predict magnitude and phase; Siuzdak 2023, "Vocos") turns log-mel into sound.

Shapes: waveform [B, S] with S = 1000 F; log-mel [B, 80, 4 F]; latent [B, F, 64].
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.codecs import mel
from happyhorse.config import Config

COLUMNS_PER_FRAME = 4
SAMPLES_PER_FRAME = COLUMNS_PER_FRAME * mel.HOP


@dataclasses.dataclass(frozen=True)
class AudioCodecConfig(Config):
    """Widths of the sound codec."""

    channels: int = 64
    """Latent channels."""
    decoder_width: int = 160
    """Width of the convolutions that correct the linear decoder."""
    vocoder_width: int = 192
    """Width of the vocoder's blocks."""
    vocoder_blocks: int = 6
    """Blocks of the vocoder."""


class AudioCodec(nn.Module):
    """Encodes sound to latents of about unit variance and back."""

    DECODING = ("decoder", "vocoder")
    """Parts that latents do not depend on."""

    mean: Tensor
    """[320]"""
    components: Tensor
    """Orthonormal rows [64, 320]."""
    scales: Tensor
    """[64]; latent = ``scales * (components @ (mel - mean))``."""

    def __init__(self, config: AudioCodecConfig) -> None:
        super().__init__()
        self.config = config
        values = COLUMNS_PER_FRAME * mel.MELS
        self.register_buffer("mean", torch.zeros(values))
        self.register_buffer("components", torch.eye(values)[: config.channels].clone())
        self.register_buffer("scales", torch.ones(config.channels))
        self.decoder = MelDecoder(config, values)
        self.vocoder = Vocoder(config)

    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, 1000 F] to latent [B, F, 64]."""
        return self.encode_mel(mel.log_mel(waveform))

    def encode_mel(self, mel_log: Tensor) -> Tensor:
        """Log-mel [B, 80, 4 F] to latent [B, F, 64]."""
        return ((stack_columns(mel_log) - self.mean) @ self.components.T) * self.scales

    def decode_mel(self, latent: Tensor) -> Tensor:
        """Latent [B, F, 64] to log-mel [B, 80, 4 F]."""
        linear = (latent / self.scales) @ self.components + self.mean
        return unstack_columns(linear + self.decoder(latent))

    def decode(self, latent: Tensor) -> Tensor:
        """Latent [B, F, 64] to waveform [B, 1000 F] in [-1, 1]."""
        return self.vocoder(self.decode_mel(latent)).clamp(-1, 1)


def stack_columns(mel_log: Tensor) -> Tensor:
    """[B, 80, 4 F] to [B, F, 320]: the four columns of each frame, one after the other."""
    return mel_log.unflatten(2, (-1, COLUMNS_PER_FRAME)).permute(0, 2, 3, 1).flatten(2)


def unstack_columns(stacked: Tensor) -> Tensor:
    """Inverse of ``stack_columns``."""
    return stacked.unflatten(2, (COLUMNS_PER_FRAME, mel.MELS)).permute(0, 3, 1, 2).flatten(2)


class MelDecoder(nn.Module):
    """What the linear decoder misses, from a latent and its neighbours: [B, F, 64] to [B, F, 320]; starts at zero."""

    def __init__(self, config: AudioCodecConfig, values: int) -> None:
        super().__init__()
        width = config.decoder_width
        self.layers = nn.Sequential(
            nn.Conv1d(config.channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(width, values, 1),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent.transpose(1, 2)).transpose(1, 2)


class Vocoder(nn.Module):
    """Log-mel [B, 80, columns] to waveform [B, 250 columns] through magnitude and phase.

    The magnitude starts from the least-squares inverse of the mel filters; the network predicts its correction (a
    factor) and the phase.
    """

    inverse: Tensor

    def __init__(self, config: AudioCodecConfig) -> None:
        super().__init__()
        width = config.vocoder_width
        self.conv_in = nn.Conv1d(mel.MELS, width, 7, padding=3)
        self.blocks = nn.Sequential(*[ConvNextBlock(width) for _ in range(config.vocoder_blocks)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, mel.WINDOW + 2)
        self.register_buffer("inverse", mel.inverse_filters(), persistent=False)

    def forward(self, mel_log: Tensor) -> Tensor:
        x = self.conv_in(mel_log).transpose(1, 2)
        correction, phase = self.head(self.norm(self.blocks(x))).transpose(1, 2).chunk(2, dim=1)
        magnitude = mel.mel_to_magnitude(mel_log, self.inverse).clamp_max(400) * correction.clamp_max(6).exp()
        return mel.istft(torch.complex(magnitude * phase.cos(), magnitude * phase.sin()))


class ConvNextBlock(nn.Module):
    """Depth-wise 7-tap convolution, norm, and a two-layer perceptron beside an identity; [B, columns, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return x + self.scale * self.down(F.gelu(self.up(y)))
