"""What fusing buys, one candidate at a time, at the small model's sizes: ``python benchmarks/fusions.py``.

Each line is one piece of a layer: as the model writes it (eager), put together by hand where a hand-made form exists,
and compiled alone. Times are this process's CPU time, medians of rounds that take turns. Page faults are kept out of it
(``compile.heap``), or they would be most of what is measured.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.compile.heap import keep_freed_memory
from happyhorse.compile.products import times
from happyhorse.compile.timing import median_busy, speedup, take_turns
from happyhorse.model.positions import rotate
from happyhorse.model.quantised import KINDS, narrow
from happyhorse.model.transformer import gelu7, swiglu7

ROWS, VIDEO, HIDDEN, WIDTH, HEADS, HEAD = 617, 496, 192, 512, 6, 32
Piece = Callable[[], object]


def norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=1e-6) * (weight + 1)


def residual_norm(hidden: Tensor, branch: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    hidden = hidden + branch
    return hidden, norm(hidden, weight)


def normed_rotated(q: Tensor, weight: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return rotate(norm(q, weight), cos, sin).bfloat16()


def gated(mixed: Tensor, gate: Tensor) -> Tensor:
    return (mixed.float() * torch.sigmoid(gate)[..., None]).flatten(2).bfloat16()


def capped_in_eight_bits(gate: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
    return narrow(swiglu7(gate, linear), KINDS["int8"])


def by_loop(x: Tensor, weights: Tensor) -> Tensor:
    return torch.cat([F.linear(part, weights[i]) for i, part in enumerate(x.split([VIDEO, ROWS - VIDEO]))])


def candidates() -> dict[str, dict[str, Piece]]:
    """Pieces by name, each as the model writes it and in other forms."""
    torch.manual_seed(0)
    hidden, branch, weight = torch.randn(1, ROWS, HIDDEN), torch.randn(1, ROWS, HIDDEN), torch.randn(HIDDEN)
    q, cos, sin = torch.randn(1, ROWS, HEADS, HEAD), torch.randn(1, ROWS, 1, 12), torch.randn(1, ROWS, 1, 12)
    gates, wide = torch.randn(1, ROWS, HEADS), [torch.randn(ROWS, WIDTH) for _ in range(2)]
    found: dict[str, dict[str, Piece]] = {}
    for name, fn, given in (
        ("residual + next norm", residual_norm, (hidden, branch, weight)),
        ("q norm + rotary + cast", normed_rotated, (q, torch.randn(HEAD), cos, sin)),
        ("gate + cast", gated, (q, gates)),
        ("SwiGLU7", swiglu7, tuple(wide)),
        ("GELU7", gelu7, (wide[0],)),
        ("SwiGLU7 + int8 rows", capped_in_eight_bits, tuple(wide)),
    ):
        found[name] = {"eager": partial(fn, *given), "compiled": partial(torch.compile(fn, dynamic=True), *given)}
    return found | products(hidden[0])


def products(x: Tensor) -> dict[str, dict[str, Piece]]:
    """Matrices per modality as one grouped product, and both halves of a gated MLP as one."""
    found: dict[str, dict[str, Piece]] = {}
    both = torch.randn(2 * WIDTH, HIDDEN)
    offsets = torch.tensor([VIDEO, ROWS], dtype=torch.int32)
    for dtype in (torch.float32, torch.bfloat16):
        rows, weights = x.to(dtype), torch.randn(2, WIDTH, HIDDEN).to(dtype)
        halves = [both[start::2].contiguous().to(dtype) for start in range(2)]
        name, columns = str(dtype).removeprefix("torch."), weights.transpose(1, 2).contiguous()
        found[f"per modality, {name}"] = {
            "eager": lambda rows=rows, weights=weights: by_loop(rows, weights),
            "grouped": lambda rows=rows, columns=columns: F.grouped_mm(rows, columns, offs=offsets),
            "onednn": lambda rows=rows, weights=weights: torch.cat(
                [times(part, weights[i]) for i, part in enumerate(rows.split([VIDEO, ROWS - VIDEO]))]
            ),
        }
        found[f"both halves, {name}"] = {
            "eager": lambda rows=rows, halves=halves: F.linear(rows, halves[0]) + F.linear(rows, halves[1]),
            "one product": lambda rows=rows, halves=halves: torch.add(
                *F.linear(rows, torch.cat(halves)).split(WIDTH, dim=1)
            ),
            "onednn": lambda rows=rows, halves=halves: times(rows, halves[0]) + times(rows, halves[1]),
        }
    return found


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    keep_freed_memory()
    print(f"{'piece':30} {'form':12} {'ms':>8} {'ratio':>7}")
    for name, forms in candidates().items():
        for run in forms.values():
            run()
        spent = take_turns(forms, arguments.rounds, torch.device("cpu"))
        for form, times_ in spent.items():
            print(f"{name:30} {form:12} {1e3 * median_busy(times_):8.3f} {speedup(spent['eager'], times_):6.2f}x")


if __name__ == "__main__":
    main()
