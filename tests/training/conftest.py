"""A tiny world for training tests: fixed random latents with a structure, and a word-level tokenizer."""

import hashlib
from pathlib import Path

import pytest
import torch

from happyhorse.data.batch import Batch, seeded
from happyhorse.recipes.foal import foal_tiny
from happyhorse.training.build import make_state
from happyhorse.training.loop import Job
from happyhorse.training.stop import Stop
from happyhorse.types import ClipShape, Latents, Text

WORDS = ("red", "blue", "ball", "horse")


class Words:
    """One token for each word."""

    def batch(self, prompts):
        ids = [[1, *(2 + digest(word) % 60 for word in prompt.split())] for prompt in prompts]
        width = max(map(len, ids))
        values = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        return Text(values, torch.tensor([len(row) for row in ids]))


class FixedSource:
    """Latents that follow from (step, shape, size) alone: a smooth part that can be learned, and a little noise."""

    def batch(self, step: int, shape: ClipShape, size: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 + step)
        colour = torch.randint(len(WORDS), (size,), generator=generator)
        level = colour[:, None].float() - 1.5
        video = level[..., None, None, None] + 0.1 * torch.randn(size, 48, *shape.latent_size, generator=generator)
        audio = level[..., None] + 0.1 * torch.randn(size, shape.audio_latents, 64, generator=generator)
        null = seeded(step).random() < 0.1
        return Batch(Latents(video, audio), tuple("" if null else f"a {WORDS[int(c)]} thing" for c in colour))


def digest(word: str) -> int:
    return hashlib.sha256(word.encode()).digest()[0]


@pytest.fixture
def source() -> FixedSource:
    return FixedSource()


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def make_job(source, words):
    """A job of the tiny recipe in a folder, and its fresh state; lines of progress are collected in ``lines``."""

    def make(folder: Path, config=None, stop=None, lines=None):
        folder.mkdir(parents=True, exist_ok=True)
        config = config or foal_tiny()
        device = torch.device("cpu")
        report = (lines if lines is not None else []).append
        job = Job(config, source, words, folder, device, stop or Stop(), report)
        return job, make_state(config, device, torch.float32)

    return make
