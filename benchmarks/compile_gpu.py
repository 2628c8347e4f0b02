"""What compiling, eight bits and CUDA graphs buy on a GPU at the published 15.3 B geometry, with random weights.

``python benchmarks/compile_gpu.py [--only ceilings attention slice foal whole start] [--toy] [--out table.md]``

    ceilings   products at this model's shapes in bf16, int8 and fp8 (rows made narrow included), one grouped product
               against one for each modality
    attention  every way to attend there is here, at a preview's rows and a render's, over all frames and in windows
    slice      four layers of the model (one for each modality at both ends): eager, block, full, CUDA graphs, weights
               laid out anew (bf16), fp8; and of a render's model, two of whose layers have windows
    foal       a step of the small model: the same
    whole      all 40 layers: one pass, a preview of 8 steps, a render to 1080p of 5 steps: eager, block, laid out, fp8
    start      seconds until the first compiled step of the slice is done, without and with a cache

Needs a CUDA device; ``--toy`` runs the same on the CPU, thousands of times smaller and without capturing or
generating code, so that it cannot rot. Seconds are medians after two runs that warm up; FLOP/s are also
given as a share of a large bf16 product's in the same run. What fails, for want of memory or of a kernel, is said in
its line, and the rest goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from gpu_table import Bench, Row, table
from magihuman import PREVIEW, RENDERS, TOKENS, pass_flops, randomise
from torch import Tensor, nn

from happyhorse.compile import attention
from happyhorse.compile.accelerate import Engine, JustInTime, accelerate
from happyhorse.compile.capture import Free
from happyhorse.compile.ceilings import describe, measure
from happyhorse.compile.ranges import Parts, all_keys, near_frames
from happyhorse.compile.spec import CompileSpec
from happyhorse.compile.timing import finish, timed
from happyhorse.config import ModelConfig, foal
from happyhorse.model.quantised import KINDS, narrow, product
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import published
from happyhorse.sampling.published import DISTILL, PublishedShape, Rendering
from happyhorse.types import ClipShape, Latents, Text
from happyhorse.weights.formats import public_transformer

WANTED = {"preview, laid out": 1.1, "preview, fp8": 0.75, "1080p, laid out": 28.0, "1080p, fp8": 20.0}
"""Seconds that we aim at on an H100 or H200."""
FIGURES = ("ceilings", "attention", "slice", "foal", "whole", "start")
FIRST_STEP = "first-step"
"""Figure that this script asks of itself in a process of its own."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The size of everything."""

    device: torch.device
    generator: Callable[[str], ModelConfig]
    """Configuration of a Transformer by its kind."""
    small: ModelConfig
    """The foal."""
    preview: PublishedShape
    large: PublishedShape
    clip: ClipShape
    """What the foal makes."""
    groups: tuple[int, int, int]
    """Rows of video, audio and text in the grouped product."""
    repeats: int = 5
    engine: Callable[[], Engine] = JustInTime

    def spec(self, **changes: Any) -> CompileSpec:
        """Sizes are few here, and a graph for one size is the fastest."""
        return CompileSpec(dynamic=False, **changes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(FIGURES), choices=[*FIGURES, FIRST_STEP])
    parser.add_argument("--toy", action="store_true", help="very small, on the CPU")
    parser.add_argument("--out", type=Path, default=None, help="write the table here too")
    asked = parser.parse_args()
    if not asked.toy and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --toy runs a very small network on the CPU")
    setting = toy() if asked.toy else true_size()
    with torch.inference_mode():
        if asked.only == [FIRST_STEP]:
            print(first_step(setting))
            return
        bench = Bench(setting.device, setting.repeats)
        for figure in asked.only:
            MEASURES[figure](bench, setting)
        found = table(bench.rows, bf16_ceiling(setting), describe(setting.device))
    print(found)
    if asked.out:
        asked.out.write_text(found + "\n", encoding="utf-8")


def true_size() -> Setting:
    clip = ClipShape(5, 128, 128)
    groups = (3000, 126, TOKENS)
    return Setting(torch.device("cuda"), public_transformer, foal(), PREVIEW, RENDERS["1080p"][1], clip, groups)


def toy() -> Setting:
    """The same code in miniature."""
    tiny = ModelConfig(hidden=64, head_dim=16, query_heads=4, kv_heads=2, shared=1, text="features", text_channels=32)
    near = {"local_layers": (0,), "receptive_field": 1}
    return Setting(
        torch.device("cpu"),
        lambda kind: tiny.replace(**(near if kind == "1080p" else {})),
        foal(hidden=32, head_dim=8, query_heads=4, kv_heads=2, shared=1, text_vocab=32),
        PublishedShape(0.4, 64, 64),
        PublishedShape(0.4, 64, 96),
        ClipShape(0.5, 64, 64),
        (30, 7, 5),
        repeats=1,
        engine=AsItIs,
    )


class AsItIs:
    """In miniature: a graph is the module itself."""

    def graph(self, module: nn.Module, tensors: list[Tensor], free: Free) -> Callable[[list[Tensor]], Any]:
        return module


# ------------------------------------------------------------------------------------------------------------ ceilings
def measure_ceilings(bench: Bench, setting: Setting) -> None:
    """Products of the widest matrix."""
    config = setting.generator("distill")
    inputs, outputs = config.hidden, 2 * config.swiglu7_width // 32 * 32
    weight = torch.randn(outputs, inputs, device=bench.device)
    for shape in (setting.preview, setting.large):
        count = rows_of(shape) // 32 * 32
        x, flops = torch.randn(count, inputs, device=bench.device), 2.0 * count * inputs * outputs
        half, wide = weight.bfloat16(), x.bfloat16()
        bench.time("ceilings", f"bf16, {count} rows", lambda wide=wide, half=half: F.linear(wide, half), flops)
        for name, kind in KINDS.items():
            numbers, scales = narrow(weight, kind)

            def narrowed(x: Tensor = x, kind: Any = kind, numbers: Tensor = numbers, scales: Tensor = scales) -> Tensor:
                rows, scale = narrow(x, kind)
                return (product(rows, numbers) * scale[:, None] * scales).bfloat16()

            bench.time("ceilings", f"{name}, rows made narrow, {count} rows", narrowed, flops)
    measure_grouped(bench, setting.groups, inputs)


def measure_grouped(bench: Bench, groups: tuple[int, int, int], width: int) -> None:
    """Rows of three modalities with a matrix each."""
    x = torch.randn(sum(groups), width, device=bench.device).bfloat16()
    weights = torch.randn(3, width, width, device=bench.device).bfloat16()
    ends = torch.tensor(groups, device=bench.device).cumsum(0).to(torch.int32)
    flops = 2.0 * sum(groups) * width * width
    apart = bench.time(
        "ceilings",
        "a product for each modality",
        lambda: torch.cat([part @ weight for part, weight in zip(x.split(list(groups)), weights, strict=True)]),
        flops,
    )
    together = bench.time("ceilings", "one grouped product", lambda: F.grouped_mm(x, weights, offs=ends), flops)
    if together is not None and apart is not None:
        assert torch.allclose(apart.float(), together.float(), rtol=0.05, atol=0.5), "the grouped product is another"


def measure_attention(bench: Bench, setting: Setting) -> None:
    """All ways of compile.attention."""
    config = setting.generator("1080p")
    heads, dtype = (config.query_heads, config.kv_heads, config.head_dim), torch.bfloat16
    small, large = rows_of(setting.preview), rows_of(setting.large)
    frames, height, width = setting.large.latent_size
    windows = near_frames(large, large, frames, frames * height * width // 4, config.receptive_field)
    places: dict[str, Parts] = {"preview": all_keys(small, small), "render": all_keys(large, large), "windows": windows}
    for name, parts in places.items():
        flops = 4.0 * attended(parts) * config.query_heads * config.head_dim
        for way in attention.candidates(bench.device):
            with bench.surviving("attention", f"{name}, {way}"):
                (one,) = attention.measure(parts, heads, bench.device, dtype, setting.repeats, [way])
                bench.add(Row("attention", f"{name}, {way}", one.seconds, flops, note=f"error {one.error:.1e}"))


def attended(parts: Parts) -> int:
    """Pairs of a query and a key."""
    return sum((part.queries[1] - part.queries[0]) * sum(stop - start for start, stop in part.keys) for part in parts)


# ------------------------------------------------------------------------------------------------------------- a model
def rows_of(shape: PublishedShape) -> int:
    return shape.tokens + TOKENS


def four_layers(config: ModelConfig) -> ModelConfig:
    """Windows in the middle if there are any."""
    local = (1, 2) if config.local_layers else ()
    return config.replace(specific_first=1, shared=2, specific_last=1, gelu7_layers=(0,), local_layers=local)


def build(config: ModelConfig, device: torch.device) -> Transformer:
    """Random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device("meta"):
        model = Transformer(config)
    model.to_empty(device=device)
    randomise(model)
    return model.eval().requires_grad_(False)


def features(config: ModelConfig, device: torch.device) -> Text:
    lengths = torch.tensor([TOKENS], device=device)
    if config.text == "tokens":
        return Text(torch.ones(1, 20, dtype=torch.int64, device=device), lengths.clamp(max=20))
    return Text(torch.randn(1, TOKENS, config.text_channels, device=device), lengths)


def noise_of(shape: ClipShape, device: torch.device) -> Latents:
    return published.draw_noise(shape, torch.Generator().manual_seed(0)).to(device)


def step(model: Any, noise: Latents, text: Text) -> Callable[[], Latents]:
    """A pass with everything made beforehand that serves all steps."""
    memory = model.encode_text(text) if model.config.text == "tokens" else text
    layout = model.layout(noise, memory)
    return lambda: model(noise, memory, layout)


def compiled(setting: Setting, model: Transformer, **changes: Any) -> Any:
    torch._dynamo.reset()  # else code that another way compiled would serve this one
    return accelerate(model, setting.spec(**changes), setting.engine())


WAYS: dict[str, dict[str, Any]] = {
    "block": {},
    "full": {"scope": "full"},
    "block, CUDA graph": {"graphs": True},
    "block, laid out": {"linear": "bf16"},
    "block, fp8": {"linear": "fp8"},
}
"""What is asked of the compiler."""
WHOLE_WAYS: dict[str, dict[str, Any]] = {"block": {}, "laid out": {"linear": "bf16"}, "fp8": {"linear": "fp8"}}
"""Of these, what is tried on all layers."""


def compare_steps(
    bench: Bench,
    setting: Setting,
    figure: str,
    config: ModelConfig,
    shape: ClipShape,
    flops: float = 0,
    ways: Collection[str] = tuple(WAYS),
    before: str = "",
) -> None:
    """Eager, compiled and replayed steps of one model; ``before`` stands before the names of the rows."""
    noise, text = noise_of(shape, bench.device), features(config, bench.device)
    plain = bench.step(figure, f"{before}eager", step(build(config, bench.device), noise, text), flops)
    for way in ways:
        with bench.surviving(figure, f"{before}{way}"):
            fast = compiled(setting, build(config, bench.device), **WAYS[way])
            bench.step(figure, f"{before}{way}", step(fast, noise, text), flops, plain)
            assert fast.way == "compiled", fast.why


def measure_slice(bench: Bench, setting: Setting) -> None:
    """Times ten, this is the whole model."""
    config = four_layers(setting.generator("distill"))
    flops = pass_flops(config, setting.preview)
    compare_steps(bench, setting, "slice", config, setting.preview, flops)
    config = four_layers(setting.generator("1080p"))
    flops = pass_flops(config, setting.large)
    compare_steps(
        bench, setting, "slice", config, setting.large, flops, ("block", "block, laid out", "block, fp8"), "1080p, "
    )


def measure_foal(bench: Bench, setting: Setting) -> None:
    compare_steps(bench, setting, "foal", setting.small, setting.clip)


# ------------------------------------------------------------------------------------------------------ all the layers
def measure_whole(bench: Bench, setting: Setting) -> None:
    """Previews and renders, each model alone on the device."""
    for name, kind, shape in (("preview", "distill", setting.preview), ("1080p", "1080p", setting.large)):
        config = setting.generator(kind)
        flops = float(pass_flops(config, shape))
        for way, changes in {"eager": None, **WHOLE_WAYS}.items():
            with bench.surviving("whole", f"{name}, {way}"):
                model: Any = build(config, bench.device)
                fast = model if changes is None else compiled(setting, model, **changes)
                measure_passes(bench, setting, f"{name}, {way}", fast, kind, shape, flops)
            model = fast = None  # before the next one is made
            if bench.cuda:
                torch.cuda.empty_cache()


def measure_passes(
    bench: Bench, setting: Setting, name: str, model: Any, kind: str, shape: PublishedShape, flops: float
) -> None:
    """One pass, and all steps."""
    text, noise = features(model.config, bench.device), noise_of(shape, bench.device)
    small = noise_of(setting.preview, bench.device)
    one = step(model, noise, text)
    first = timed(one, bench.device).wall
    bench.time("whole", f"{name}: a pass", one, flops, f"first {first:.1f} s", warm_up=1)
    if name == "1080p, eager":
        return  # five passes, for a minute
    generator = torch.Generator().manual_seed(0)
    wanted = f"wanted {WANTED[name]} s" if name in WANTED else ""
    if kind == "distill":
        run = lambda: published.generate(model, text, None, noise, DISTILL, generator=generator)  # noqa: E731
        steps = DISTILL.steps
    else:
        run = lambda: published.render(model, text, None, small, noise, Rendering())  # noqa: E731
        steps = Rendering().steps
    bench.time("whole", name, run, steps * flops, wanted, warm_up=0)


# --------------------------------------------------------------------------------------------------------------- start
def measure_start(bench: Bench, setting: Setting) -> None:
    """Two processes that share a cache."""
    with tempfile.TemporaryDirectory() as folder, bench.surviving("start", "a process"):
        for what in ("empty cache", "the same cache again"):
            toy_too = ["--toy"] if not bench.cuda else []
            done = subprocess.run(
                [sys.executable, __file__, "--only", FIRST_STEP, *toy_too],
                env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": folder},
                capture_output=True,
                text=True,
                check=True,
            )
            bench.add(Row("start", what, float(done.stdout.split()[-1])))


def first_step(setting: Setting) -> float:
    """Seconds from a built slice to its first compiled step."""
    config = four_layers(setting.generator("distill"))
    model, noise = build(config, setting.device), noise_of(setting.preview, setting.device)
    text = features(config, setting.device)
    finish(setting.device)
    began = time.perf_counter()
    step(accelerate(model, setting.spec(), setting.engine()), noise, text)()
    finish(setting.device)
    return time.perf_counter() - began


MEASURES = {
    "ceilings": measure_ceilings,
    "attention": measure_attention,
    "slice": measure_slice,
    "foal": measure_foal,
    "whole": measure_whole,
    "start": measure_start,
}


def bf16_ceiling(setting: Setting) -> float:
    return measure(setting.device, side=None if setting.device.type == "cuda" else 128, seconds=0.2).matmul["bf16"]


if __name__ == "__main__":
    main()
