"""What compiling buys on a CPU: every figure's ways side by side, taking turns in one run.

``python benchmarks/compile.py [--quick] [--only loop render naive start] [--repeats 7] [--out table.md]``

    loop     all denoising steps of a 5 s clip of the foal: eager, prepared, compiled, in bfloat16, in eight bits
    render   one step of a render to 512 px: attention to all frames, windows as a mask, windows as ranges, compiled
    naive    one step of the foal against a naive port of the same maths (benchmarks/naive.py)
    start    from the command to the file: the plain model, prepared as by default, with a package made before

CPU seconds are this process's divided by its threads, so that a busy neighbour does not count, and their ratios medians
of the rounds' ratios; on a quiet machine the wall's ratios are what a person waits. Errors are the largest difference
to the first way, in units of its largest number. ``--quick`` takes a minute on a quiet machine: shorter clips, fewer
rounds.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch loads: waiting threads would count as busy

import argparse
import copy
import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from naive import Naive

from happyhorse.codecs.text import Tokenizer
from happyhorse.compile.accelerate import accelerate
from happyhorse.compile.attention import use_attention
from happyhorse.compile.ceilings import describe
from happyhorse.compile.choose import PREPARED
from happyhorse.compile.compare import difference
from happyhorse.compile.spec import CompileSpec
from happyhorse.compile.timing import Spent, median_busy, median_wall, speedup, take_turns
from happyhorse.config import ModelConfig
from happyhorse.errors import HappyhorseError
from happyhorse.flow.timesteps import grid
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import samplers
from happyhorse.sampling.pipeline import draw_noise, load_part
from happyhorse.sampling.request import Sampling
from happyhorse.types import ClipShape, Latents, Text
from happyhorse.weights.registry import resolve

CPU = torch.device("cpu")
PROMPT = "a red ball bounces on wood"
WAYS = {
    "prepared": PREPARED,
    "compiled": CompileSpec(scope="block"),
    "compiled, onednn": CompileSpec(scope="block", linear="onednn"),
    "compiled, bf16": CompileSpec(scope="block", linear="bf16"),
    "compiled, int8": CompileSpec(scope="block", linear="int8"),
}
Make = Callable[[], Latents]


@dataclasses.dataclass(frozen=True)
class Setting:
    """How much is measured."""

    loop: ClipShape
    render: ClipShape
    repeats: int
    steps: int | None = None
    """Denoising steps; the model's own if None."""


FULL = Setting(ClipShape(5, 128, 128), ClipShape(5, 512, 512), repeats=7)
QUICK = Setting(ClipShape(1, 128, 128), ClipShape(0.5, 512, 512), repeats=3, steps=2)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of one figure."""

    way: str
    wall: float
    busy: float
    faster: float
    """Than the first way, in CPU seconds."""
    sooner: float
    """Than the first way, on the clock on the wall."""
    error: float | None
    first: float | None = None
    """Seconds until it was ready."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter clips and fewer rounds")
    parser.add_argument("--only", nargs="+", default=list(FIGURES), choices=list(FIGURES))
    parser.add_argument("--repeats", type=int, default=None, help="rounds")
    parser.add_argument("--out", type=Path, default=None, help="write the tables here too")
    asked = parser.parse_args()
    setting = QUICK if asked.quick else FULL
    if asked.repeats:
        setting = dataclasses.replace(setting, repeats=asked.repeats)
    print(f"{describe(CPU)}, {setting.repeats} rounds", flush=True)
    tables = []
    for name in asked.only:
        title, measure = FIGURES[name]
        tables.append(table(title, measure(setting)))
        print("\n" + tables[-1], flush=True)
    if asked.out:
        asked.out.write_text("\n\n".join([describe(CPU), *tables]) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- figures
def measure_loop(setting: Setting) -> list[Row]:
    """All steps of a clip, prompt included."""
    model, sampling = load("distilled")
    noise = draw_noise(setting.loop, torch.Generator().manual_seed(0))
    sigmas = grid(setting.steps or sampling.steps, sampling.shift)

    def loop(model: Any) -> Make:
        def run() -> Latents:
            memory = model.encode_text(prompt())
            layout = model.layout(noise, memory)
            sampler = samplers.BY_NAME[sampling.sampler]
            generator = torch.Generator().manual_seed(1)
            return sampler(lambda latents: model(latents, memory, layout), noise, sigmas, generator=generator)

        return run

    return compared({"eager": lambda: loop(model), **faster(model, loop)}, setting.repeats)


def measure_render(setting: Setting) -> list[Row]:
    """A step of a render. The first way is another function, so errors are those to windows as a mask."""
    near, _ = load("superres")
    dense = Transformer(near.config.replace(local_layers=()))
    dense.load_state_dict(near.state_dict())
    masked = copy.deepcopy(near)
    use_attention(masked, "dense")
    noise = draw_noise(setting.render, torch.Generator().manual_seed(0))
    ways = {
        "all frames": lambda: step(dense.eval(), noise),
        "windows as a mask": lambda: step(masked, noise),
        "windows": lambda: step(near, noise),
        **{f"windows, {name}": make for name, make in faster(near, lambda model: step(model, noise)).items()},
    }
    return compared(ways, setting.repeats, right="windows as a mask")


def measure_naive(setting: Setting) -> list[Row]:
    """A step of the foal; the naive port reads its prompt every time, we have it read."""
    model, _ = load("distilled")
    noise, naive, words = draw_noise(setting.loop, torch.Generator().manual_seed(0)), Naive(model), prompt()
    ways: dict[str, Callable[[], Make]] = {
        "naive": lambda: lambda: naive(noise, words),
        "ours, eager": lambda: step(model, noise),
        "ours, eager, prompt read every time": lambda: lambda: model(noise, words),
    }
    ours = faster(model, lambda model: step(model, noise)).items()
    return compared({**ways, **{f"ours, {name}": make for name, make in ours}}, setting.repeats)


def measure_start(setting: Setting) -> list[Row]:
    """The whole command, as a person waits for it: a process of its own every time."""
    with tempfile.TemporaryDirectory() as folder:
        clip = ["generate", PROMPT, "--seed", "1", "--overwrite", "--seconds", f"{setting.loop.seconds:g}"]
        places = {"HAPPYHORSE_COMPILED": f"{folder}/compiled", "HAPPYHORSE_LIBRARY": f"{folder}/library"}
        made, none = command(["compile", "foal"], places), {**places, "HAPPYHORSE_COMPILED": f"{folder}/none"}
        ways = {
            "eager": ([*clip, "-o", f"{folder}/eager.mp4", "--compile", "off"], none),
            "prepared": ([*clip, "-o", f"{folder}/prepared.mp4"], none),
            "with a package": ([*clip, "-o", f"{folder}/package.mp4"], places),
        }
        spent: dict[str, list[Spent]] = {name: [] for name in ways}
        for _ in range(setting.repeats + 1):
            for name, (arguments, where) in ways.items():
                spent[name].append(command(arguments, where))
    return rows({name: times[1:] for name, times in spent.items()}, {}, {"with a package": made.wall})


FIGURES: dict[str, tuple[str, Callable[[Setting], list[Row]]]] = {
    "loop": ("denoising a clip of the foal (wanted: compiled 1.25, int8 1.6)", measure_loop),
    "render": ("a step of a render to 512 px (wanted: windows 1.8)", measure_render),
    "naive": ("a step against a naive port (wanted: 1.5)", measure_naive),
    "start": ("from command to file (wanted: more than 1)", measure_start),
}


# ------------------------------------------------------------------------------------------------------------ measuring
def load(role: str) -> tuple[Transformer, Sampling]:
    found = resolve("foal")
    settings = found.manifest.sampling_of(role) if role in found.manifest.generators else {}
    model = load_part(found.folder, found.manifest, role, Transformer, ModelConfig)
    return model, Sampling.from_dict(settings)


def prompt() -> Text:
    return Tokenizer.load().batch([PROMPT])


def step(model: Any, noise: Latents) -> Make:
    """A pass with the prompt read beforehand."""
    memory = model.encode_text(prompt())
    layout = model.layout(noise, memory)
    return lambda: model(noise, memory, layout)


def faster(model: Transformer, make: Callable[[Any], Make]) -> dict[str, Callable[[], Make]]:
    """Those of WAYS, each of a copy of the model."""

    def build(spec: CompileSpec) -> Make:
        made = accelerate(copy.deepcopy(model), spec)
        run = make(made)
        run()
        assert spec.scope == "off" or made.way == "compiled", made.why
        return run

    return {name: lambda spec=spec: build(spec) for name, spec in WAYS.items()}


@torch.inference_mode()
def compared(ways: Mapping[str, Callable[[], Make]], repeats: int, right: str | None = None) -> list[Row]:
    """Builds every way, then lets them take turns. What cannot be built here is said and left out."""
    runs: dict[str, Make] = {}
    results: dict[str, Latents] = {}
    first: dict[str, float] = {}
    for name, build in ways.items():
        began = time.perf_counter()
        try:
            runs[name] = build()
            results[name] = runs[name]()
        except HappyhorseError as error:
            print(f"{name}: {error}", flush=True)
            continue
        first[name] = time.perf_counter() - began
        print(f"{name}: ready after {first[name]:.1f} s", flush=True)
    truth = results[right or next(iter(results))]
    errors = {name: difference(result, truth) for name, result in results.items()}
    return rows(take_turns(runs, repeats, CPU), errors, first)


def command(arguments: Sequence[str], places: Mapping[str, str]) -> Spent:
    """Runs ``happyhorse``; its CPU seconds are those of the whole process."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    began, cpu = time.perf_counter(), spent()
    subprocess.run(
        [sys.executable, "-m", "happyhorse", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **places},
    )
    return Spent(time.perf_counter() - began, spent() - cpu)


# --------------------------------------------------------------------------------------------------------------- tables
def rows(spent: Mapping[str, list[Spent]], errors: Mapping[str, float], first: Mapping[str, float]) -> list[Row]:
    plain = next(iter(spent.values()))
    return [
        Row(
            name,
            median_wall(times),
            median_busy(times),
            speedup(plain, times),
            median_wall(plain) / median_wall(times),
            errors.get(name),
            first.get(name),
        )
        for name, times in spent.items()
    ]


def table(title: str, lines: Sequence[Row]) -> str:
    """Markdown."""
    columns = ("way", "CPU s", "wall s", "times faster, CPU", "wall", "error", "ready after, s")
    found = [title, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in lines:
        error = "" if row.error is None else f"{row.error:.1e}"
        first = "" if row.first is None else f"{row.first:.1f}"
        found.append(
            f"| {row.way} | {row.busy:.4f} | {row.wall:.3f} | {row.faster:.2f} | {row.sooner:.2f} | {error} | {first} |"
        )
    return "\n".join(found)


if __name__ == "__main__":
    main()
