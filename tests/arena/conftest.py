"""Simulated voters, single votes, and small clips."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from happyhorse.arena.counts import Tally
from happyhorse.arena.vote import Vote
from happyhorse.codecs.media import write_mp4

RATE = 48_000


@pytest.fixture
def voters() -> Callable[..., list[Tally]]:
    """Votes between models of known strengths r, of which i is preferred to j with probability sigmoid(r_i - r_j).

    Voters look twice and call a tie what does not come out the same both times, at the rate ``ties``: then the wins and
    half of the ties have that probability still. ``moods`` is how alike the votes on one prompt are: 0 not at all.
    """

    def simulate(
        strengths: Mapping[str, float],
        random: np.random.Generator,
        prompts: int = 40,
        votes: int = 4,
        ties: float = 0.0,
        moods: float = 0.0,
    ) -> list[Tally]:
        counted: Counter[tuple[str, str, str, str]] = Counter()
        for prompt, (one, other) in itertools.product(range(prompts), itertools.combinations(strengths, 2)):
            likely = 1 / (1 + np.exp(strengths[other] - strengths[one]))
            if moods:
                likely = random.beta(likely / moods, (1 - likely) / moods)
            tie = 2 * ties * likely * (1 - likely)
            chances = (likely - tie / 2, 1 - likely - tie / 2, tie)
            for left, right in (one, other), (other, one):
                sides = ("left", "right", "tie") if left == one else ("right", "left", "tie")
                for choice, number in zip(sides, random.multinomial(votes // 2, chances), strict=True):
                    counted[f"{prompt:03}", left, right, choice] += int(number)
        return [Tally(*key, number) for key, number in counted.items() if number]

    return simulate


@pytest.fixture
def make_vote() -> Callable[..., Vote]:
    """A vote; what is not said is as of anybody's first vote."""

    def make(**changes: Any) -> Vote:
        values = {
            "match": "m1",
            "board": "text-to-video",
            "category": "foley",
            "prompt": "0" * 16,
            "left": "ours",
            "right": "theirs",
            "left_clip": "a" * 64,
            "right_clip": "b" * 64,
            "chance": 0.25,
            "voter": "v1",
            "choice": "left",
            "time": 1_700_000_000.5,
            "seconds": 12.25,
            "played": True,
        }
        return Vote(**{**values, **changes})

    return make


@pytest.fixture
def write_clip() -> Callable[..., Path]:
    """Writes an mp4 of half a second: a colour and a tone, by ``seed``."""

    def write(path: Path, seed: int = 0, level: float = 0.1, seconds: float = 0.5, comment: str = "") -> Path:
        frames = np.full((round(24 * seconds), 32, 32, 3), 20 * seed % 256, np.uint8)
        time = np.arange(round(seconds * RATE)) / RATE
        tone = level * np.sin(2 * np.pi * (400 + 50 * seed) * time)
        write_mp4(path, frames, np.stack([tone, tone]).astype(np.float32), 24, RATE, comment)
        return path

    return write


@pytest.fixture
def write_model(write_clip) -> Callable[..., Path]:
    """Writes a folder as a model is brought: clips and prompts.jsonl. Prompts are (text, category, board, image)."""

    def write(folder: Path, prompts: list[tuple[str, str]], seed: int = 0, level: float = 0.1) -> Path:
        folder.mkdir()
        lines = []
        for number, (prompt, category) in enumerate(prompts):
            write_clip(folder / f"{number}.mp4", seed + number, level)
            row = {"file": f"{number}.mp4", "prompt": prompt, "category": category, "board": "text-to-video"}
            lines.append(json.dumps(row))
        (folder / "prompts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        return folder

    return write
