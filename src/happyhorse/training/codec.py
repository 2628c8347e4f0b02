"""Trains the foal's codecs, part by part: ``happyhorse train foal-codec``, or one part: ``foal-picture``.

A run folder holds the checkpoints of each part and, as soon as they are trained, video.safetensors and
audio.safetensors; a run that was stopped goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from happyhorse.codecs import mel
from happyhorse.codecs.audio import AudioCodec
from happyhorse.codecs.video import VideoCodec
from happyhorse.data.pool import Pool
from happyhorse.recipes.codec import CodecConfig, Fit, PictureConfig
from happyhorse.sampling.pipeline import load_codecs
from happyhorse.training import checkpoint
from happyhorse.training.fit import Work, fit
from happyhorse.training.picture import (
    WINDOW,
    autoencoder_loss,
    decoder_loss,
    fit_patches,
    measure_latent_scale,
)
from happyhorse.training.sound import fit_components, mel_decoder_loss, scene_sounds, vocoder_loss
from happyhorse.training.stop import INTERRUPTED, Stop, Stopped
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import save_module

EXIT_INTERRUPTED = 130
Codec = TypeVar("Codec", VideoCodec, AudioCodec)


def train_codecs(
    config: CodecConfig, out: Path | str, minutes: float | None = None, report: Callable[[str], None] = print
) -> int:
    """Trains both codecs in the folder ``out``; returns 0 when done or paused, 130 after Ctrl-C."""

    def train(work: Work) -> str:
        train_video(config, work)
        train_audio(config, work)
        return f"{work.folder / 'video.safetensors'} and {work.folder / 'audio.safetensors'}"

    return conduct(train, Path(out), config.seed, minutes, report)


def train_picture(
    config: PictureConfig, out: Path | str, minutes: float | None = None, report: Callable[[str], None] = print
) -> int:
    """Trains a picture's decoder on, in the folder ``out``; returns 0 when done or paused, 130 after Ctrl-C.

    Raises WeightsError if the codec to go on from cannot be read.
    """

    def train(work: Work) -> str:
        codec = load_codecs(resolve(config.codec), torch.device("cpu")).video
        assert isinstance(codec, VideoCodec)
        pool = Pool(config.groups, config.seed, "train", rendering(work))
        fit_decoder(codec, pool, config.picture_decoder, work)
        save(codec, work.folder / "video.safetensors")
        return f"{work.folder / 'video.safetensors'}"

    return conduct(train, Path(out), config.seed, minutes, report)


def conduct(
    train: Callable[[Work], str], out: Path, seed: int, minutes: float | None, report: Callable[[str], None]
) -> int:
    """Runs a training that says what it wrote, until it is done or told to stop; returns the exit code."""
    stop = Stop(minutes)
    out.mkdir(parents=True, exist_ok=True)
    with stop.listening():
        try:
            written = train(Work(out, seed, stop, report))
        except Stopped as stopped:
            report(f"{stopped}; run the same command again to go on")
            return EXIT_INTERRUPTED if str(stopped) == INTERRUPTED else 0
    report(f"done: {written}")
    return 0


def train_video(config: CodecConfig, work: Work) -> VideoCodec:
    """The video codec: closed-form linear part, autoencoder, then the decoder alone."""
    torch.manual_seed(config.seed)
    pool = Pool(config.groups, config.seed, "train", rendering(work))
    codec = VideoCodec(config.video)
    if not checkpoint.checkpoints(work.folder / "autoencoder"):  # which would bring it along
        fit_patches(codec, pool, torch.Generator().manual_seed(config.seed))
    codec = codec.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit("autoencoder", codec, lambda g: autoencoder_loss(codec, pool.batch(WINDOW, g), g), config.autoencoder, work)
    measure_latent_scale(codec, pool, torch.Generator().manual_seed(config.seed))
    fit_decoder(codec, pool, config.picture_decoder, work)
    return save(codec, work.folder / "video.safetensors")


def fit_decoder(codec: VideoCodec, pool: Pool, settings: Fit, work: Work) -> None:
    """Trains the decoder alone: what latents depend on stays."""
    codec.requires_grad_(False)
    codec.decoder.requires_grad_(True)
    fit("picture-decoder", codec, lambda g: decoder_loss(codec, pool.batch(WINDOW, g), g), settings, work)


def train_audio(config: CodecConfig, work: Work) -> AudioCodec:
    """The sound codec: principal components, the correction of their inverse, the vocoder."""
    torch.manual_seed(config.seed)
    sounds = scene_sounds(config.seed, config.sounds)
    mels = torch.cat([mel.log_mel(chunk) for chunk in sounds.split(32)])
    codec = AudioCodec(config.audio)
    fit_components(codec, mels)
    fit("sound-decoder", codec.decoder, lambda g: mel_decoder_loss(codec, mels, g), config.sound_decoder, work)
    fit("vocoder", codec.vocoder, lambda g: vocoder_loss(codec, sounds, g), config.vocoder, work)
    return save(codec, work.folder / "audio.safetensors")


def save(codec: Codec, path: Path) -> Codec:
    """Writes a codec as float16: ten bits of mantissa, so that rounding stays 60 dB below the signal."""
    save_module(codec, path, torch.float16)
    return codec.eval()


def rendering(work: Work) -> Callable[[int, int], None]:
    """Reports every fiftieth clip and hears a stop."""

    def on_clip(done: int, total: int) -> None:
        work.stop.check()
        if done % 50 == 0 or done == total:
            work.report(f"rendered {done}/{total} clips")

    return on_clip
