"""How good are the foal's clips? Its quality table beside those of real scenes and of real scenes through its codecs.

    python benchmarks/foal_quality.py --per-family 64 --json quality.json

Without ``--weights`` it measures the foal in the package. ``--rows real`` needs no weights at all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.errors import HappyhorseError
from happyhorse.evaluation.instruments import Fitting, cached_instruments
from happyhorse.evaluation.measure import Generate, as_json, make_cases, measure
from happyhorse.evaluation.readings import Instruments
from happyhorse.evaluation.speech import SpeechMatcher
from happyhorse.evaluation.tally import Tally, markdown
from happyhorse.sampling.pipeline import Pipeline
from happyhorse.sampling.request import parse_size
from happyhorse.types import ClipShape


def main() -> None:
    asked = arguments()
    width, height = parse_size(asked.size)
    shape = ClipShape(asked.seconds, height, width)
    print("instruments ...", flush=True)
    fitted = cached_instruments(Fitting(seconds=asked.seconds), progress=tell_every(100, "scenes for the instruments"))
    instruments = Instruments(fitted, SpeechMatcher(shape.frames * 1000))
    pipeline = None if asked.rows == ["real"] else Pipeline.from_pretrained(asked.weights, asked.device)
    codecs = Codecs(pipeline.parts.video, pipeline.parts.audio) if pipeline and "codecs" in asked.rows else None
    cases = make_cases(asked.per_family, asked.seconds, asked.images, asked.phrasing, asked.families)
    generate = generator(pipeline, asked) if pipeline and "model" in asked.rows else None
    tally, began = Tally(), time.monotonic()
    measured = measure(cases, (height, width), instruments, codecs, generate, pipeline.device if pipeline else "cpu")
    for done, tally in enumerate(measured, 1):  # noqa: B007
        if done % len(asked.families) == 0 or done == len(cases):
            spent = time.monotonic() - began
            print(
                f"{done} of {len(cases)} cases, {spent:.0f} s, {spent / done * (len(cases) - done):.0f} s left",
                flush=True,
            )
    lines = tally.lines()
    print("\n" + markdown(lines))
    if asked.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(asked).items()}
        settings["weights_hash"] = pipeline.parts.fingerprint if pipeline else None
        asked.json.write_text(json.dumps({"settings": settings, "lines": as_json(lines)}, indent=1) + "\n")


def generator(pipeline: Pipeline, asked: argparse.Namespace) -> Generate:
    def generate(prompt, seed, image):
        return pipeline(
            prompt,
            seconds=asked.seconds,
            size=asked.size,
            seed=seed,
            steps=asked.steps,
            guidance=asked.guidance,
            sampler=asked.sampler,
            shift=asked.shift,
            image=image,
        )

    return generate


def tell_every(step: int, what: str):
    def tell(done: int, total: int) -> None:
        if done % step == 0:
            print(f"{done} of {total} {what}", flush=True)

    return tell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--per-family", type=int, default=64, help="cases of each family; half are held-out combinations"
    )
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--images", type=int, default=8, help="cases of each family that are also made from an image")
    parser.add_argument("--phrasing", choices=["train", "held_out"], default="held_out")
    parser.add_argument("--rows", nargs="+", choices=["real", "codecs", "model"], default=["real", "codecs", "model"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", default="128x128", help="WIDTHxHEIGHT")
    parser.add_argument("--steps", type=int, help="default: the model's own")
    parser.add_argument("--guidance", type=float, help="default: the model's own")
    parser.add_argument("--sampler", help="default: the model's own")
    parser.add_argument("--shift", type=float, help="default: the model's own")
    parser.add_argument("--weights", default="foal", help="name of a model, or its folder")
    parser.add_argument("--device")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except HappyhorseError as error:
        raise SystemExit(f"error: {error}") from None
