"""What this machine can do at best, measured in a few seconds: products of matrices and bytes moved a second.

No part of a model is faster than its ceilings, so a share of them says how much there is left to win (the roofline
model: Williams, Waterman and Patterson 2009). The clock is that of ``compile.timing``.
"""

from __future__ import annotations

import dataclasses
import platform
import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from happyhorse.compile.timing import Run, timed
from happyhorse.model.quantised import multiplies_fp8

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8, "fp8": torch.float8_e4m3fn}
"""Number formats by the names that tables use."""


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """A machine at its best."""

    where: str
    """The device, its threads and the version of torch."""
    matmul: Mapping[str, float]
    """Operations a second in large matrix products, by number format; a format without products is missing."""
    bandwidth: float
    """Bytes a second read and written by a large copy."""

    def floor(self, flops: float, moved: float, number_format: str) -> float:
        """Fewest seconds for so many operations and bytes, one hidden behind the other."""
        return max(flops / self.matmul[number_format], moved / self.bandwidth)

    def ridge(self, number_format: str) -> float:
        """Operations for each byte from which on products, not memory, are the limit."""
        return self.matmul[number_format] / self.bandwidth


def measure(device: torch.device, side: int | None = None, seconds: float = 0.5) -> Ceilings:
    """Medians over about ``seconds`` for each number; products are ``side`` x ``side`` matrices, large unless given."""
    side = side or (8192 if device.type == "cuda" else 2048)
    products = {name: _product(name, side, device) for name in FORMATS}
    rates = {name: rate(2 * side**3, run, device, seconds) for name, run in products.items() if run}
    return Ceilings(describe(device), rates, _bandwidth(device, 64 * side * side, seconds))


def rate(work: float, run: Run, device: torch.device, seconds: float) -> float:
    """``work`` a second: the median of at least three runs after one that warms up."""
    run()
    spent, total = [], 0.0
    while len(spent) < 3 or (total < seconds and len(spent) < 1000):
        one = timed(run, device)
        spent.append(one.busy)
        total += one.wall
    return work / max(statistics.median(spent), 1e-9)


def describe(device: torch.device) -> str:
    """The device in words, and the version of torch."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _product(number_format: str, side: int, device: torch.device) -> Run | None:
    """A product of two matrices; None where the device has none of this format."""
    if number_format == "fp8" and not multiplies_fp8(device):
        return None
    a, b = (_matrix(number_format, side, device) for _ in range(2))
    if number_format == "int8":
        return lambda: torch._int_mm(a, b.t())
    if number_format == "fp8":
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(a, b.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True)
    return lambda: a @ b


def _matrix(number_format: str, side: int, device: torch.device) -> Tensor:
    if number_format == "int8":
        return torch.randint(-127, 128, (side, side), dtype=torch.int8, device=device)
    return torch.randn(side, side, device=device).to(FORMATS[number_format])


def _bandwidth(device: torch.device, size: int, seconds: float) -> float:
    """Bytes a second that a copy of ``size`` bytes reads and writes; too large for caches if the default sides are."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return rate(2 * size, lambda: target.copy_(source), device, seconds)
