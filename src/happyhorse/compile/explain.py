"""Where the time of a pass goes, and what the compiler made of it."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.counting import ATTENTION, HEADS, LINEARS, PARTS, count, told
from happyhorse.model.transformer import Transformer

FUSED = "fused kernels, rest"
"""What compiled code does beside products and attention."""
KINDS = (LINEARS, ATTENTION, FUSED)
PRODUCTS = ("linear", "mm", "addmm", "matmul", "_int_mm", "_scaled_mm", "_grouped_mm")
"""Operators that are products with weights."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of a pass: what it asks for and what it takes."""

    name: str
    flops: int
    moved: int
    """Bytes read and written."""
    calls: int
    seconds: float

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / max(self.moved, 1)

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.flops / max(self.seconds, 1e-12)

    def share(self, ceilings: Ceilings, number_format: str) -> float:
        """The least time that the machine's ceilings allow, of the time it takes. Above 1 where caches spare memory."""
        return ceilings.floor(self.flops, self.moved, number_format) / max(self.seconds, 1e-12)


def explain(
    model: Transformer, run: Callable[[], object], seconds: float, device: torch.device, passes: int = 3
) -> list[Part]:
    """The parts of ``run``, a pass of the plain ``model`` that takes ``seconds`` when nothing watches it.

    Operations and bytes are counted. How the seconds are shared out is measured over some passes: on a CPU by the clock
    of ``compile.timing``, which a busy neighbour does not stretch, on a GPU by the profiler.
    """
    counts = count(model, run)
    shares = _shares(_kernel_seconds(model, run) if device.type == "cuda" else _clock_seconds(model, run, passes))
    return [Part(one.part, one.flops, one.moved, one.calls, seconds * shares.get(one.part, 0.0)) for one in counts]


def explain_compiled(
    run: Callable[[], object], seconds: float, device: torch.device, passes: int = 3
) -> dict[str, float]:
    """Seconds by kind (KINDS) of a pass through compiled code, where only operators and kernels have names still.

    Adapters and heads are among the products.
    """
    spent: dict[str, float] = collections.defaultdict(float)
    for event in events(run, device, passes):
        spent[kind_of(event.name)] += own_time(event, device)
    shares = _shares(spent)
    return {kind: seconds * shares.get(kind, 0.0) for kind in KINDS}


# ------------------------------------------------------------------------------------------------------ shares of time
def _clock_seconds(model: Transformer, run: Callable[[], object], passes: int) -> dict[str, float]:
    clock = PartClock()
    with told(model, clock.at):
        for _ in range(passes):
            run()
    clock.stop()
    return clock.spent


class PartClock:
    """This process's CPU seconds, all threads together, told by the part that they were spent in."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PARTS, 0.0)
        self._places, self._since = [HEADS], time.process_time()

    @contextlib.contextmanager
    def at(self, place: str) -> Iterator[None]:
        self.stop()
        self._places.append(place)
        try:
            yield
        finally:
            self.stop()
            self._places.pop()

    def stop(self) -> None:
        """Adds what was spent since the last time to where we are."""
        now = time.process_time()
        self.spent[self._places[-1]] += now - self._since
        self._since = now


def _kernel_seconds(model: Transformer, run: Callable[[], object]) -> dict[str, float]:
    device, spent = torch.device("cuda"), dict.fromkeys(PARTS, 0.0)
    with told(model, torch.profiler.record_function):
        for event in events(run, device, 1):
            if event.name not in PARTS:
                spent[_place(event)] += own_time(event, device)
    return spent


def events(run: Callable[[], object], device: torch.device, passes: int) -> Sequence[Any]:
    """What happened in some passes, after one that warms the profiler up."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it tells stderr whenever it starts and stops
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    found: Sequence[Any] = ()
    for number in (1, passes):
        with torch.profiler.profile(activities=kinds) as profiler:
            for _ in range(number):
                run()
        found = profiler.events() or ()
    return found


def _place(event: Any) -> str:
    """The innermost part that an event happened in."""
    while event is not None and event.name not in PARTS:
        event = event.cpu_parent
    return HEADS if event is None else event.name


def own_time(event: Any, device: torch.device) -> float:
    """An event's own time, without that of the events inside it."""
    return event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total


def kind_of(name: str) -> str:
    """Products, attention or the rest, by the name of an operator or kernel."""
    bare = name.rsplit("::", 1)[-1]
    if "attention" in bare or "flash" in bare or bare in ("bmm", "baddbmm"):
        return ATTENTION
    return LINEARS if bare in PRODUCTS or any(word in bare for word in ("linear_pointwise", "gemm")) else FUSED


def _shares(spent: Mapping[str, float]) -> dict[str, float]:
    total = sum(spent.values())
    return {name: value / total for name, value in spent.items()} if total else {}


# ------------------------------------------------------------------------------------------------------- the compiler
@dataclasses.dataclass
class Compiled:
    """What the compiler did while it was watched."""

    graphs: int = 0
    """Pieces of code that were captured."""
    breaks: tuple[str, ...] = ()
    """Why a capture ended early, a line each."""
    kernels: int = 0
    """Fused kernels that were written for all graphs, products and attention aside; 0 if they came from a cache."""
    seconds: float = 0.0
    """All of the time, what was compiled being run once included."""


@contextlib.contextmanager
def watch_compiler() -> Iterator[Compiled]:
    """Yields a record that is complete when the block ends: what was compiled in between, and how long it took."""
    from torch._dynamo.utils import counters
    from torch._inductor import metrics

    before = {name: collections.Counter(counters[name]) for name in ("stats", "graph_break")}
    kernels, began, found = metrics.generated_kernel_count, time.perf_counter(), Compiled()
    yield found
    found.seconds = time.perf_counter() - began
    found.graphs = counters["stats"]["unique_graphs"] - before["stats"]["unique_graphs"]
    found.breaks = tuple(
        reason.splitlines()[0] for reason in (counters["graph_break"] - before["graph_break"]) if reason.strip()
    )
    found.kernels = metrics.generated_kernel_count - kernels
