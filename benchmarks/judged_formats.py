"""What faster products and attention do to the clips, by the ruler: the same prompts and seeds in every format.

``python benchmarks/judged_formats.py [--model foal] [--per-family 8] [--out runs/formats]``

``benchmarks/formats.py`` has the errors of the numbers; this says whether anybody would notice.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, cast

import torch
from in_turn import FAMILIES, READ, SHAPE, judged, row

from happyhorse.compile.attention import use_attention
from happyhorse.compile.linears import use_linears
from happyhorse.evaluation.measure import make_cases
from happyhorse.evaluation.suites import suite_of
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.pipeline import Pipeline
from happyhorse.training.machine import prepare_machine


class AsIs(Pipeline):
    """The plain model."""

    linear, attention = "as-is", "plain"

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Pipeline:
        pipeline = super().from_pretrained(*arguments, **options)
        if cls.linear != "as-is":
            model = cast(Transformer, pipeline.parts.model)
            use_attention(model, cls.attention)
            use_linears(model, cls.linear)
        return pipeline


class Bf16(AsIs):
    linear, attention = "bf16", "auto"


class Int8(AsIs):
    linear, attention = "int8", "products-bf16"


FORMATS = {"as it is": AsIs, "bf16": Bf16, "int8": Int8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="foal")
    parser.add_argument("--per-family", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("runs/formats"))
    asked = parser.parse_args()
    prepare_machine(torch.device("cpu"))
    cases = make_cases(asked.per_family, SHAPE.seconds, 0, FAMILIES)
    suite = suite_of("formats", cases, SHAPE.seconds, (SHAPE.height, SHAPE.width))
    print(f"| | {' | '.join(READ.values())} |\n|{'---|' * (len(READ) + 1)}")
    for name, kind in FORMATS.items():
        print(row(name, judged(asked.model, kind, suite, asked.out / name.replace(" ", "-"))), flush=True)


if __name__ == "__main__":
    main()
