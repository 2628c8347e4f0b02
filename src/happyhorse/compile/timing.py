"""Fair timing beside other programs: what is compared takes turns, and medians of the turns' ratios are told.

On a CPU the clock is this process's own CPU time, which a neighbour does not stretch, divided by its threads: what the
work would take here alone if it were spread evenly. (Threads must sleep while they wait, OMP_WAIT_POLICY=PASSIVE, or
their waiting is counted too; the command line sees to it.) On a GPU it is the time until the device is done.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

Run = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Spent:
    """What one run took."""

    wall: float
    """Seconds on the clock on the wall."""
    busy: float
    """Seconds of the fair clock: see the top of this file."""


def timed(run: Run, device: torch.device) -> Spent:
    """What ``run`` takes, its work on the device included."""
    finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    finish(device)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Spent(wall, cpu / torch.get_num_threads() if device.type == "cpu" else wall)


def finish(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def take_turns(
    runs: Mapping[str, Run],
    repeats: int,
    device: torch.device,
    found: dict[str, list[Spent]] | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> dict[str, list[Spent]]:
    """Every run once in each of ``repeats`` rounds, in an order that turns round every time.

    Fills ``found`` with whole rounds as it goes, so that what there is survives an interruption.
    """
    found = {} if found is None else found
    for done in range(repeats):
        names = list(runs)[:: 1 if done % 2 == 0 else -1]
        round_ = {name: timed(runs[name], device) for name in names}
        for name in runs:
            found.setdefault(name, []).append(round_[name])
        if on_round:
            on_round(done + 1, repeats)
    return found


def median_wall(spent: Sequence[Spent]) -> float:
    return statistics.median(one.wall for one in spent)


def median_busy(spent: Sequence[Spent]) -> float:
    return statistics.median(one.busy for one in spent)


def speedup(plain: Sequence[Spent], other: Sequence[Spent]) -> float:
    """How many times ``other`` is faster: the median of the rounds' ratios, by the fair clock."""
    return statistics.median(a.busy / max(b.busy, 1e-9) for a, b in zip(plain, other, strict=True))
