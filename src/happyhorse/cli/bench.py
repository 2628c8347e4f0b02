"""``happyhorse bench``: a model's denoising step in all the ways there are to run it, side by side."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from happyhorse.cli.main import EXIT_STOPPED, say
from happyhorse.cli.progress import StageProgress
from happyhorse.codecs.text import Tokenizer
from happyhorse.compile import ceilings
from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.compare import EAGER, Case, Comparison, Row, Variant, variants
from happyhorse.compile.explain import Part, explain, explain_compiled
from happyhorse.compile.roofline import require_plots, write_roofline
from happyhorse.compile.timing import median_busy
from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.files import check_output, make_folder, whole_file
from happyhorse.flow.guidance import GuidanceScale
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.pipeline import draw_noise, load_part
from happyhorse.sampling.request import Request, Sampling, checked_whole, make_request
from happyhorse.weights.registry import resolve

PROMPT = "a red ball bounces on wood"
REPEATS_MAX = 1000
REPORT, PICTURE = "bench.json", "roofline.png"
FORMAT_NAMES = {"float32": "fp32", "bfloat16": "bf16"}


@dataclasses.dataclass(frozen=True)
class Asked:
    """The command line, as given."""

    model: str = "foal"
    seconds: float = 5.0
    size: str = "128x128"
    repeats: int = 10
    ways: str = ""
    """Names with commas; all if empty."""
    explain: bool = False
    out: Path | None = None
    device: str | None = None
    overwrite: bool = False
    json: bool = False


@dataclasses.dataclass(frozen=True)
class Explained:
    """What --explain adds."""

    ceilings: Ceilings
    number_format: str
    """Of the plain model's products."""
    parts: list[Part]
    """Of the plain step."""
    compiled: dict[str, dict[str, float]]
    """Seconds by kind of the other variants' steps."""


def bench(asked: Asked) -> int:
    """Measures, prints and writes what is asked for; after Ctrl-C, what there is. Returns the exit code."""
    checked_whole("repeats", asked.repeats, 1, REPEATS_MAX)
    check_out(asked)
    device = find_device(asked.device)
    chosen = variants(device, [name for name in asked.ways.split(",") if name])
    model, case, request = load(asked, device)
    comparison = Comparison(model, case, device)
    explained, code = None, 0
    try:
        with StageProgress() as progress:
            measure(comparison, chosen, asked.repeats, progress)
            if asked.explain:
                progress("explaining", 0, 1)
                explained = explain_all(comparison, device)
    except KeyboardInterrupt:
        if not comparison.contenders:
            raise
        say("stopped; this is what was measured until then")
        code = EXIT_STOPPED
    rows = list(comparison.rows(chosen))
    title = f"{asked.model}, a step of {request.shape.seconds:g} s, {request.recipe()['size']}"
    tell(title, rows, explained, asked.json)
    if asked.out and code == 0:
        write(asked.out, title, rows, explained)
    return code


def check_out(asked: Asked) -> None:
    """Makes the folder and refuses, before anything is measured, what could not be written at the end."""
    if asked.out is None:
        return
    if asked.explain:
        require_plots()
    make_folder(asked.out)
    for name in (REPORT, PICTURE) if asked.explain else (REPORT,):
        check_output(asked.out / name, asked.overwrite)


def load(asked: Asked, device: torch.device) -> tuple[Transformer, Case, Request]:
    """A model and a step of it as a clip asks for: with guidance, two prompts at once. Raises SizeError, WeightsError
    and the like for what cannot be made."""
    found = resolve(asked.model)
    sampling = Sampling.from_dict(found.manifest.sampling_of(found.generator))
    request = make_request(sampling, PROMPT, seconds=asked.seconds, size=asked.size, seed=0)
    model = load_part(found.folder, found.manifest, found.generator, Transformer, ModelConfig).to(device)
    prompts = [PROMPT] if GuidanceScale(*request.guidance).is_plain else [PROMPT, ""]
    noise = draw_noise(request.shape, torch.Generator().manual_seed(0)).to(device)
    latents = noise.map(lambda stream: torch.cat([stream] * len(prompts)))
    timed = model.config.timestep == "embedded"
    times = torch.full((len(prompts), 2), 0.9, device=device) if timed else None
    return model, Case(latents, Tokenizer.load().batch(prompts).to(device), times), request


def measure(comparison: Comparison, chosen: Sequence[Variant], repeats: int, progress: StageProgress) -> None:
    """Prepares every variant, then lets them take turns."""
    for done, variant in enumerate(chosen):
        progress("compiling", done, len(chosen))
        comparison.prepare(variant)
    progress("compiling", len(chosen), len(chosen))
    comparison.run(repeats, lambda done, total: progress("taking turns", done, total))


@torch.inference_mode()
def explain_all(comparison: Comparison, device: torch.device) -> Explained:
    """The plain step by part, and the others by kind of kernel."""
    found = comparison.contenders
    parts = explain(comparison.model, found[EAGER].step, median_busy(found[EAGER].spent), device)
    compiled = {
        name: explain_compiled(one.step, median_busy(one.spent), device) for name, one in found.items() if name != EAGER
    }
    number_format = FORMAT_NAMES[comparison.model.config.matmul_dtype]
    return Explained(ceilings.measure(device, seconds=0.2), number_format, parts, compiled)


# ------------------------------------------------------------------------------------------------------------- telling
def tell(title: str, rows: Sequence[Row], explained: Explained | None, as_json: bool) -> None:
    """Tables, or one JSON line."""
    if as_json:
        print(json.dumps(facts(title, rows, explained), ensure_ascii=False))
        return
    console = Console()
    console.print(comparison_table(title, rows))
    for row in rows:
        for note in (row.refused, *row.breaks):
            if note:
                console.print(f"{row.name}: {note}", markup=False, highlight=False)
    if explained:
        console.print(parts_table(explained))
        console.print(kinds_table(explained))


def facts(title: str, rows: Sequence[Row], explained: Explained | None) -> dict[str, Any]:
    """All numbers as JSON values."""
    found: dict[str, Any] = {"bench": title, "variants": [dataclasses.asdict(row) for row in rows]}
    if explained:
        found["explained"] = dataclasses.asdict(explained)
    return found


def comparison_table(title: str, rows: Sequence[Row]) -> Table:
    """One line for each variant; "CPU" is the fair clock of ``compile.timing``, of which the ratios are made."""
    columns = ("way", "wall, ms", "CPU, ms", "times faster", "largest error", "first step, s", "graphs", "kernels")
    table = Table(*columns, title=title)
    for row in rows:
        milliseconds = (None if value is None else 1e3 * value for value in (row.wall, row.busy))
        times = (_number(value, "{:.1f}") for value in milliseconds)
        about = (_number(row.speedup, "{:.2f}"), _number(row.error, "{:.1e}"), _number(row.first, "{:.1f}"))
        table.add_row(row.name, *times, *about, str(row.graphs or "-"), str(row.kernels or "-"))
    return table


def parts_table(explained: Explained) -> Table:
    """The plain step by part, beside this machine's ceilings."""
    limits = explained.ceilings
    formats = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in limits.matmul.items())
    title = f"{limits.where}\nGFLOP/s in products: {formats}; memory {limits.bandwidth / 1e9:.0f} GB/s"
    table = Table("part of the plain step", "GFLOP", "MB", "calls", "ms", "GFLOP/s", "of the ceiling", title=title)
    for part in explained.parts:
        share = part.share(limits, explained.number_format)
        work = (f"{part.flops / 1e9:.3g}", f"{part.moved / 1e6:.3g}", str(part.calls))
        table.add_row(part.name, *work, f"{1e3 * part.seconds:.1f}", f"{part.rate / 1e9:.1f}", f"{share:.0%}")
    return table


def kinds_table(explained: Explained) -> Table:
    """The other variants by kind of kernel."""
    kinds = list(dict.fromkeys(kind for spent in explained.compiled.values() for kind in spent))
    table = Table("way, in ms", *kinds)
    for name, spent in explained.compiled.items():
        table.add_row(name, *(f"{1e3 * spent[kind]:.1f}" for kind in kinds))
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def write(folder: Path, title: str, rows: Sequence[Row], explained: Explained | None) -> None:
    """The numbers, and with --explain the roofline picture."""
    with whole_file(folder / REPORT) as temporary:
        temporary.write_text(json.dumps(facts(title, rows, explained), indent=2, ensure_ascii=False) + "\n", "utf-8")
    written = REPORT
    if explained:
        write_roofline(folder / PICTURE, title, explained.parts, explained.ceilings)
        written += f" and {PICTURE}"
    say(f"written to {folder}: {written}")
