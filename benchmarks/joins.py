"""How well a clip goes on where two windows meet: continuations and loops of one prompt a family.

``python benchmarks/joins.py [MODEL] [--seconds 12]``

The change of the picture at a join is told as a multiple of the clip's median change from frame to frame (beside it:
what 95 % of all changes stay below). A click would show in the sound's second difference: its largest value around a
join, over the 99th percentile of all.
"""

from __future__ import annotations

import argparse
import dataclasses
import random

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from happyhorse import Pipeline
from happyhorse.clip import Clip
from happyhorse.data.scenes.world import FAMILIES, prompt, sample_plan
from happyhorse.evaluation.readings import steps
from happyhorse.sampling.extend import PER_FRAME, Start, extend, overlap
from happyhorse.sampling.given import Film, Sound
from happyhorse.sampling.loop import loop, parts
from happyhorse.sampling.request import Request, make_request

FIRST_SEED = 930_000_000
AROUND = 60
"""Samples to each side of a join that a click is looked for in."""


@dataclasses.dataclass(frozen=True)
class Join:
    kind: str
    family: str
    change: float
    """Of the picture, over the median change."""
    usual: float
    """95th percentile of the changes, over the median."""
    click: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="foal")
    parser.add_argument("--seconds", type=float, default=12.0, help="length that a clip of 5 s is extended to")
    asked = parser.parse_args()
    pipeline = Pipeline.from_pretrained(asked.model)
    table = Table("", "family", "picture's change", "95 % below", "click")
    for number, family in enumerate(track(FAMILIES)):
        plan = sample_plan(FIRST_SEED + number, 5.0, family=family)
        words = prompt(plan, random.Random(number), "held_out")
        request = make_request(pipeline.parts.sampling, words, seed=4 + number)
        for join in (*extended(pipeline, request, family, asked.seconds), looped(pipeline, request, family)):
            numbers = (f"{value:.2f}" for value in (join.change, join.usual, join.click))
            table.add_row(join.kind, join.family, *numbers)
    Console().print(table)


def extended(pipeline: Pipeline, request: Request, family: str, seconds: float) -> list[Join]:
    """The joins of a continuation."""
    clip = pipeline.make(request)
    long = extend(pipeline, Start(Film(clip.frames, {}), Sound(clip.audio[0], {})), request, seconds)
    places, frames = [], len(clip.frames)
    while frames < len(long.frames):
        places.append(frames)
        frames += request.shape.frames - overlap(frames, request.shape)
    return [at(long, place, f"join {number}", family) for number, place in enumerate(places, 1)]


def looped(pipeline: Pipeline, request: Request, family: str) -> Join:
    """Where a loop begins again."""
    clip = loop(pipeline, request)
    place = parts(request.shape).new
    turned = dataclasses.replace(
        clip, frames=np.roll(clip.frames, place, axis=0), audio=np.roll(clip.audio, place * PER_FRAME, axis=1)
    )
    return at(turned, place, "loop", family)


def at(clip: Clip, frame: int, kind: str, family: str) -> Join:
    """What is seen and heard between ``frame`` - 1 and ``frame``."""
    changes = steps(clip.frames)
    middle = max(float(np.median(changes)), 1e-6)
    bends = np.abs(np.diff(clip.audio[0], n=2))
    near = bends[max(0, frame * PER_FRAME - AROUND) : frame * PER_FRAME + AROUND]
    usual = float(np.percentile(changes, 95) / middle)
    return Join(kind, family, float(changes[frame - 1] / middle), usual, float(near.max() / np.percentile(bends, 99)))


if __name__ == "__main__":
    main()
