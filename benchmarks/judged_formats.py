"""What faster products and attention do to the clips, by the ruler: the same prompts and seeds in every format.

``python benchmarks/judged_formats.py [--model foal] [--per-family 8] [--out runs/formats]``

``benchmarks/formats.py`` has the errors of the numbers; this says whether anybody would notice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from in_turn import compare_ways

from happyhorse.compile.attention import use_attention
from happyhorse.compile.linears import use_linears
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.pipeline import Pipeline


class AsIs(Pipeline):
    """The plain model."""

    linear, attention = "as-is", "plain"

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Pipeline:
        pipeline = super().from_pretrained(*arguments, **{**options, "compile": "off"})
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


if __name__ == "__main__":
    compare_ways(__doc__ or "", "foal", FORMATS, Path("runs/formats"))
