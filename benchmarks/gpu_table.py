"""Rows of a benchmark on a GPU: median seconds, operations a second, peak memory, and what failed and why."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd import DeviceType

from happyhorse.compile.compare import difference
from happyhorse.compile.explain import events
from happyhorse.compile.timing import timed
from happyhorse.errors import HappyhorseError
from happyhorse.types import Latents


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    figure: str
    what: str
    seconds: float = 0.0
    flops: float = 0.0
    """0 where they are not counted."""
    peak: int = 0
    """Bytes on the device."""
    note: str = ""


ENOUGH = 5.0
"""Seconds after which a figure is not measured again."""


class Bench:
    """Measures and collects rows. What fails leaves a row that says so, and the others their device time."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self.device, self.repeats, self.rows = device, repeats, list[Row]()
        self.cuda = device.type == "cuda"

    def add(self, row: Row) -> None:
        self.rows.append(row)
        print(f"{row.figure}: {row.what}: {row.seconds:.4f} s {row.note}", flush=True)

    def time(
        self, figure: str, what: str, run: Callable[[], Any], flops: float = 0, note: str = "", warm_up: int = 2
    ) -> Any:
        """Adds the median of some runs, of fewer if they are long; returns what the last one made, None if it fails."""
        made: list[Any] = []

        def once() -> None:
            made[:] = [run()]

        with self.surviving(figure, what):
            for _ in range(warm_up):
                once()
            if self.cuda:
                torch.cuda.reset_peak_memory_stats()
            spent: list[float] = []
            while len(spent) < self.repeats and sum(spent) < ENOUGH:
                spent.append(timed(once, self.device).wall)
            peak = torch.cuda.max_memory_allocated() if self.cuda else 0
            self.add(Row(figure, what, statistics.median(spent), flops, peak, note))
        return made[0] if made else None

    def step(
        self, figure: str, what: str, run: Callable[[], Latents], flops: float, plain: Latents | None = None
    ) -> Latents | None:
        """``time`` for a step of a model: also how long its first call took, which may compile, its kernels, and its
        error against ``plain``."""
        made: list[Latents] = []
        with self.surviving(figure, what):
            first = timed(lambda: made.append(run()), self.device).wall
            error = f", error {difference(made[0], plain):.1e}" if plain else ""
            self.time(figure, what, run, flops, f"first {first:.1f} s, {launches(run, self.device)} launches{error}")
        return made[0] if made else None

    @contextlib.contextmanager
    def surviving(self, figure: str, what: str) -> Iterator[None]:
        """One figure that fails leaves the others their device time."""
        try:
            yield
        except (HappyhorseError, RuntimeError) as error:  # out of memory is a RuntimeError too
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            self.add(Row(figure, what, note=reason[:160]))
            if self.cuda:
                torch.cuda.empty_cache()


def launches(run: Callable[[], Any], device: torch.device) -> int:
    """Kernels that ``run`` starts on a GPU; on a CPU, operators that call no other."""
    found = events(run, device, 1)
    if device.type == "cuda":
        return sum(event.device_type == DeviceType.CUDA for event in found)
    return sum(not event.cpu_children for event in found)


def table(rows: list[Row], ceiling: float, where: str) -> str:
    """Markdown."""
    lines = [
        f"{where}; a large bf16 product reaches {ceiling / 1e12:.3g} TFLOP/s",
        "",
        "| figure | what | ms | TFLOP/s | of the ceiling | peak, GiB | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = row.flops / row.seconds if row.seconds else 0.0
        work = f"{rate / 1e12:.3g} | {rate / ceiling:.0%}" if rate else " | "
        spent = f"{1e3 * row.seconds:.3f}" if row.seconds else ""
        peak = f"{row.peak / 2**30:.1f}" if row.peak else ""
        lines.append(f"| {row.figure} | {row.what} | {spent} | {work} | {peak} | {row.note} |")
    return "\n".join(lines)
