"""One trained model, its picture and sound made together and made in turn, by the ruler.

``python benchmarks/in_turn.py [--model foal-base] [--per-family 8] [--out runs/in-turn]``

The base has met media that are given and sounds noisier than their pictures, so the same weights can finish one medium
beside the other's noise, and then make the other for it. What that costs in sync is what denoising together is worth.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch

from happyhorse.evaluation.measure import make_cases
from happyhorse.evaluation.order import Order, prepare
from happyhorse.evaluation.report import Report, make_report
from happyhorse.evaluation.source import ModelSource
from happyhorse.evaluation.suites import Suite, suite_of
from happyhorse.sampling.given import Given
from happyhorse.sampling.pipeline import Pipeline, Stopwatch, draw_noise
from happyhorse.sampling.request import Request
from happyhorse.training.machine import prepare_machine
from happyhorse.types import ClipShape, Known, Latents

SHAPE = ClipShape(5, 128, 128)
FAMILIES = ("ball", "horse", "walker", "talker")
READ = {
    ("all families", "foley: F1 of impacts seen and heard"): "F1",
    ("ball", "F1 of impacts and onsets"): "F1, balls",
    ("all families", "talkers: mouth against voice (correlation)"): "mouth",
    ("all families", "adherence: attributes right"): "attributes",
    ("all families", "talkers: word errors (foal-asr)"): "errors",
}


class InTurn(Pipeline):
    """Makes one medium beside the other's noise, and then the other for it."""

    first = "picture"
    """"picture" or "sound"."""

    def generate_latents(self, request: Request, given: Given, watch: Stopwatch) -> Latents:
        assert given == Given(), "nothing can be given here"
        generator = torch.Generator().manual_seed(request.seed)
        noise = draw_noise(request.shape, generator).to(self.device)
        half = self.denoise(request, noise, held(noise, self.first != "picture"), generator, watch)
        return self.denoise(request, noise, held(half, self.first == "picture"), generator, watch)


class SoundFirst(InTurn):
    """Makes the sound, and then the picture for it."""

    first = "sound"


def held(latents: Latents, picture: bool) -> Known:
    """One whole medium of ``latents`` as it is, noise or not: the picture, or else the sound."""
    frames, sounds, device = latents.video.shape[2], latents.audio.shape[1], latents.video.device
    return Known(
        latents,
        torch.full((1, frames), picture, dtype=torch.bool, device=device),
        torch.full((1, sounds), not picture, dtype=torch.bool, device=device),
    )


ORDERS = {"together": Pipeline, "picture first": InTurn, "sound first": SoundFirst}


def main() -> None:
    compare_ways(__doc__ or "", "foal-base", ORDERS, Path("runs/in-turn"))


def compare_ways(about: str, model: str, ways: Mapping[str, type[Pipeline]], out: Path) -> None:
    """Prints a row of the ruler's numbers for each kind of pipeline, all on the same prompts and seeds."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=model)
    parser.add_argument("--per-family", type=int, default=8)
    parser.add_argument("--out", type=Path, default=out)
    asked = parser.parse_args()
    prepare_machine(torch.device("cpu"))
    cases = make_cases(asked.per_family, SHAPE.seconds, 0, FAMILIES)
    suite = suite_of(out.name, cases, SHAPE.seconds, (SHAPE.height, SHAPE.width))
    print(f"| | {' | '.join(READ.values())} |\n|{'---|' * (len(READ) + 1)}")
    for name, kind in ways.items():
        print(row(name, judged(asked.model, kind, suite, asked.out / name.replace(" ", "-"))), flush=True)


def judged(model: str, kind: type[Pipeline], suite: Suite, folder: Path) -> Report:
    """The ruler's report of the clips that a kind of pipeline makes."""
    order = prepare(Order(model=model), suite, folder, True, lambda stage, done, total: None)
    settings = cast(ModelSource, order.source).settings
    source = ModelSource(kind.from_pretrained(model), folder / "clips", suite.size, settings)
    order = dataclasses.replace(order, source=source)
    return make_report(order.facts(), order.cases())


def row(name: str, report: Report) -> str:
    """A row of the table: values with 95 % intervals."""
    lines = {
        (line.family, line.metric): f"{line.value:.3f} [{line.low:.3f}, {line.high:.3f}]"
        for line in (*report.headline, *report.lines)
        if line.row == "model" and line.split == "all"
    }
    return f"| {name} | {' | '.join(lines.get(key, '-') for key in READ)} |"


if __name__ == "__main__":
    main()
