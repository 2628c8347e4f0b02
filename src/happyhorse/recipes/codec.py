"""The foal's codecs: ``happyhorse train foal-codec``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from happyhorse.codecs.audio import AudioCodecConfig
from happyhorse.codecs.video import VideoCodecConfig
from happyhorse.config import Config
from happyhorse.data.pool import PoolGroup
from happyhorse.recipes.recipe import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class Fit(Config):
    """The training of one part of a codec."""

    steps: int
    """Optimiser steps."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    kind: str = "adamw"
    """The optimiser: "adamw" or "muon"."""
    log_every: int = 100
    """Steps between two lines of progress."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""

    @property
    def optimizer(self) -> OptimizerConfig:
        return OptimizerConfig(kind=self.kind, learning_rate=self.learning_rate, betas=(0.9, 0.99), final=0.0)


@dataclasses.dataclass(frozen=True)
class CodecConfig(Config):
    """One run: video autoencoder, then its decoder alone, then the sound's decoder and the vocoder."""

    name: str
    """The recipe's name."""
    autoencoder: Fit
    """Encoder and decoder of the picture together."""
    picture_decoder: Fit
    """The decoder alone, the encoder as it is: cached latents stay good."""
    sound_decoder: Fit
    """The correction of the linear log-mel decoder."""
    vocoder: Fit
    """Log-mel to sound."""
    groups: tuple[PoolGroup, ...]
    """Clips that the picture's parts are trained on."""
    sounds: int
    """Clips that the sound's parts are trained on."""
    video: VideoCodecConfig = dataclasses.field(default_factory=VideoCodecConfig)
    """Widths of the video codec."""
    audio: AudioCodecConfig = dataclasses.field(default_factory=AudioCodecConfig)
    """Widths of the sound codec."""
    seed: int = 0
    """Seed of the scenes, the windows and the noise."""


@dataclasses.dataclass(frozen=True)
class PictureConfig(Config):
    """One run of the picture's decoder alone, on from a model's codec: latents, and all that was learned of them, stay
    good."""

    name: str
    """The recipe's name."""
    codec: str
    """Name or folder of the model whose video codec is trained on."""
    picture_decoder: Fit
    """The decoder."""
    groups: tuple[PoolGroup, ...]
    """Clips that it is trained on."""
    seed: int = 1
    """Seed of the scenes, the windows and the noise."""


def foal_codec() -> CodecConfig:
    """The foal's codecs. The shipped ones had fewer steps: see their model card."""
    return CodecConfig(
        name="foal-codec",
        autoencoder=Fit(steps=3000),
        picture_decoder=Fit(steps=3000, learning_rate=1e-3),
        sound_decoder=Fit(steps=1000),
        vocoder=Fit(steps=3000),
        groups=(
            PoolGroup(height=128, width=128, clips=150, weight=4),
            PoolGroup(height=96, width=160, clips=50, weight=1),
            PoolGroup(height=160, width=96, clips=50, weight=1),
            PoolGroup(height=64, width=64, clips=120, batch=16, weight=3),
            PoolGroup(height=256, width=256, clips=60, frames=25, crop=128, weight=1),
            PoolGroup(height=512, width=512, clips=40, frames=17, crop=128, weight=1),
        ),
        sounds=600,
    )


def foal_codec_tiny() -> CodecConfig:
    """Very small codecs for a few steps: a rehearsal of everything that a run does."""
    fit = Fit(steps=3, log_every=1, checkpoint_every=2)
    return CodecConfig(
        name="foal-codec-tiny",
        autoencoder=fit,
        picture_decoder=fit,
        sound_decoder=fit,
        vocoder=fit,
        groups=(PoolGroup(height=32, width=32, clips=2, frames=17, batch=2),),
        sounds=4,
        video=VideoCodecConfig(encoder_fine=8, encoder_coarse=8, decoder_coarse=8, decoder_middle=8, decoder_fine=8),
        audio=AudioCodecConfig(decoder_width=8, vocoder_width=8, vocoder_blocks=1),
    )


def foal_picture() -> PictureConfig:
    """The shipped decoder on, with half of its steps on crops of renders, which it had seen too few of."""
    return PictureConfig(
        name="foal-picture",
        codec="foal",
        picture_decoder=Fit(steps=1500, learning_rate=1e-3),
        groups=(
            PoolGroup(height=128, width=128, clips=120, weight=4),
            PoolGroup(height=96, width=160, clips=30, weight=0.5),
            PoolGroup(height=160, width=96, clips=30, weight=0.5),
            PoolGroup(height=512, width=512, clips=120, frames=17, crop=128, weight=5),
        ),
    )


def foal_picture_tiny() -> PictureConfig:
    """A rehearsal of a few steps."""
    groups = (PoolGroup(height=64, width=64, clips=2, frames=17, crop=32, batch=2),)
    fit = Fit(steps=3, log_every=1, checkpoint_every=2)
    return PictureConfig(name="foal-picture-tiny", codec="foal", picture_decoder=fit, groups=groups)


def picture_recipes() -> dict[str, Callable[[], PictureConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {"foal-picture": foal_picture, "foal-picture-tiny": foal_picture_tiny}


def codec_recipes() -> dict[str, Callable[[], CodecConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {"foal-codec": foal_codec, "foal-codec-tiny": foal_codec_tiny}
