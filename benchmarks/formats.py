"""What each number format costs in precision and in space: the tables of docs/formats.md.

``python benchmarks/formats.py``

The error is measured on tiny Transformers of the published design with random weights (the golden cases of the tests)
and on the trained foal; the sizes are those of the public 15.3 B geometry.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from happyhorse.codecs.text import Tokenizer
from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text
from happyhorse.weights.formats import FORMATS, WAYS, bytes_of, measured_errors, public_transformer
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import load_config, load_module, verified

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "reader.py"
CASES = ("dit_t2v", "dit_ti2v", "dit_sr540", "dit_sr1080_local")


def main() -> None:
    golden = _reader().GoldenSet()
    columns = [*(measured_errors(*tiny(golden, name)) for name in CASES), measured_errors(*trained())]
    print(f"| relative L2 error of the velocity | {' | '.join((*CASES, 'foal-base'))} |")
    print("|---" * (len(columns) + 1) + "|")
    for way in WAYS:
        print(f"| {way} | {' | '.join(f'{100 * errors[way]:.2f} %' for errors in columns)} |")
    print("\n| format | 15.3 B Transformer |\n|---|---|")
    for number_format in FORMATS:
        size = bytes_of(public_transformer("base"), number_format)
        print(f"| {number_format} | {size / 1e9:.2f} GB ({size / 2**30:.2f} GiB) |")


def tiny(golden: Any, name: str) -> tuple[Any, Latents, Text]:
    """How to build the model of a golden case in a matmul dtype, and what it is given."""
    case = golden(name)

    def build(matmul_dtype: str) -> Transformer:
        return golden.published(case, matmul_dtype=matmul_dtype)

    count = case.settings["n_text"]
    text = Text(case["in.txt_feat"][:, :count], torch.tensor([count]))
    return build, Latents(case["in.x_t"], case["in.audio_x_t"]), text


def trained() -> tuple[Any, Latents, Text]:
    """The same for the foal as it was trained, and the noise that a clip of 2 s begins as."""
    found = resolve("foal-base")
    path = verified(found.folder, found.manifest, found.generator)
    config = load_config(ModelConfig, path)

    def build(matmul_dtype: str) -> Transformer:
        model = Transformer(config.replace(matmul_dtype=matmul_dtype))
        load_module(model, path)
        return model.eval()

    generator = torch.Generator().manual_seed(0)
    latents = Latents(
        torch.randn(1, 48, 12, 8, 8, generator=generator),
        torch.randn(1, 48, config.audio_channels, generator=generator),
    )
    return build, latents, Tokenizer.load().batch(["a red ball bounces on wood"])


def _reader() -> ModuleType:
    """The tests' reader of golden cases, which is no package."""
    spec = importlib.util.spec_from_file_location("golden_reader", GOLDEN)
    assert spec is not None and spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    return reader


if __name__ == "__main__":
    main()
