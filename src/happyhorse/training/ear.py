"""Trains the recogniser of the speech bank's languages: ``happyhorse train foal-asr``.

It hears words of one language and voice in a row, at random pauses, speeds, levels and amounts of noise; half of them
have been through the sound codec with noise on their latents, as a generator leaves it. Sentences that the scenes hold
out are not among them, though their words are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.codecs import mel
from happyhorse.codecs.audio import AudioCodec
from happyhorse.codecs.ear import Ear, EarConfig, spelled
from happyhorse.data.scenes.sentences import (
    LANGUAGES,
    VOICES,
    held_out_sentences,
    random_words,
    sentence_words,
    sentences,
    words,
    written,
)
from happyhorse.data.scenes.speech import Bank
from happyhorse.recipes.ear import EarRecipe
from happyhorse.training.codec import EXIT_INTERRUPTED
from happyhorse.training.fit import Work, fit
from happyhorse.training.run import find_codecs
from happyhorse.training.stop import INTERRUPTED, Stop, Stopped
from happyhorse.weights.store import save_module

FILE = "asr.safetensors"


def train_ear(
    recipe: EarRecipe, out: Path | str, minutes: float | None = None, report: Callable[[str], None] = print
) -> int:
    """Trains the recogniser in the folder ``out``; returns 0 when done or paused, 130 after Ctrl-C."""
    stop = Stop(minutes)
    work = Work(Path(out), recipe.seed, stop, report)
    torch.manual_seed(recipe.seed)
    ear = Ear(EarConfig(alphabet(), recipe.width, recipe.blocks))
    codec = find_codecs(None, torch.device("cpu")).audio
    assert isinstance(codec, AudioCodec)
    with stop.listening():
        try:
            fit("ear", ear, lambda generator: ear_loss(ear, codec, recipe, generator), recipe.fit, work)
        except Stopped as stopped:
            report(f"{stopped}; run the same command again to go on")
            return EXIT_INTERRUPTED if str(stopped) == INTERRUPTED else 0
    save_module(ear, work.folder / FILE)
    report(f"done: {work.folder / FILE}")
    return 0


def alphabet() -> str:
    """Every letter of the bank's words, as the recogniser writes them, and the space."""
    return "".join(
        sorted({" "} | {letter for tongue in LANGUAGES for word in words(tongue) for letter in spelled(word)})
    )


# ------------------------------------------------------------------------------------------------------------- a step


def ear_loss(
    ear: Ear, codec: AudioCodec, recipe: EarRecipe, generator: torch.Generator
) -> tuple[Tensor, Mapping[str, float]]:
    """CTC loss of a batch of sayings, per letter."""
    rng = random.Random(int(torch.randint(2**62, (1,), generator=generator)))
    sayings = [saying(recipe, rng) for _ in range(recipe.batch)]
    waves = torch.stack([wave for wave, _ in sayings])
    texts = [torch.tensor(ear.targets(text)) for _, text in sayings]
    scores = ear(roughened(mel.log_mel(noisy(waves, generator)), codec, generator))
    lengths = torch.tensor([len(text) for text in texts])
    columns = torch.full((len(texts),), scores.shape[1])
    losses = F.ctc_loss(scores.transpose(0, 1), torch.cat(texts).long(), columns, lengths, reduction="none")
    loss = (losses / lengths.clamp(min=1)).mean()
    return loss, {"loss per letter": loss.item()}


def saying(recipe: EarRecipe, rng: random.Random) -> tuple[Tensor, str]:
    """A waveform [S] and the text, as the recogniser writes it, that is said in it."""
    samples = round(recipe.seconds * mel.SAMPLE_RATE) // (4 * mel.HOP) * 4 * mel.HOP
    wave, spoken = torch.zeros(samples), list[str]()
    if rng.random() < recipe.silent:
        return wave, ""
    language, voice = rng.choice(LANGUAGES), rng.choice(VOICES)
    speed, at = rng.uniform(0.9, 1.12), round(rng.uniform(0.05, 0.6) * mel.SAMPLE_RATE)
    for word in script(language, recipe, rng):
        said = resampled(Bank.load().word(language, voice, word).waveform, speed)
        if at + len(said) > samples:
            break
        wave[at : at + len(said)] += said
        at += len(said) + round(rng.uniform(0.05, 0.25) * mel.SAMPLE_RATE)
        spoken.append(word)
    return wave, spelled(written(language, spoken))


def script(language: str, recipe: EarRecipe, rng: random.Random) -> tuple[str, ...]:
    """Words to be said: a sentence that is trained on, or words in random order that are none that is held out."""
    if rng.random() < recipe.scripted:
        secret = held_out_sentences(language)
        text = rng.choice([text for text in sentences(language) if text not in secret])
        return sentence_words(language)[text]
    return random_words(language, recipe.most_words, rng)


def resampled(wave: Tensor, speed: float) -> Tensor:
    """A waveform [S] played ``speed`` times as fast, its pitch with it."""
    return F.interpolate(wave[None, None], size=round(len(wave) / speed), mode="linear", align_corners=True)[0, 0]


def noisy(waves: Tensor, generator: torch.Generator) -> Tensor:
    """Waveforms [B, S] at -12 to 3 dB with white noise at -75 to -35 dB."""
    gain, level = (
        10 ** (low + (high - low) * torch.rand(len(waves), 1, generator=generator))
        for low, high in ((-0.6, 0.15), (-3.75, -1.75))
    )
    return gain * waves + level * torch.randn(waves.shape, generator=generator)


@torch.no_grad()
def roughened(mel_log: Tensor, codec: AudioCodec, generator: torch.Generator) -> Tensor:
    """Log-mels [B, 80, 4 F], every other one through the codec with up to 0.5 of noise on its unit-variance latent."""
    half = codec.encode_mel(mel_log[::2])
    strength = 0.5 * torch.rand(len(half), 1, 1, generator=generator)
    rough = mel_log.clone()
    rough[::2] = codec.decode_mel(half + strength * torch.randn(half.shape, generator=generator))
    return rough
