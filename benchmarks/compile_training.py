"""What compiling a training step saves, in time and in memory, with and without recomputation:

``OMP_WAIT_POLICY=PASSIVE python benchmarks/compile_training.py [--batch 8] [--rounds 5]``

Steps of the foal's recipe (forward, backward, optimiser, average) take turns; times are this process's own CPU time
over its threads (see ``happyhorse.compile.timing``), memory is what the allocator hands out during a step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from happyhorse.compile.activations import activation_costs
from happyhorse.compile.recompute import MODES
from happyhorse.compile.timing import median_busy, speedup, take_turns
from happyhorse.compile.training import compile_for_training
from happyhorse.config import magihuman_15b
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.foal import SQUARE, foal
from happyhorse.recipes.recipe import TrainConfig
from happyhorse.training.budget import random_latents, random_text
from happyhorse.training.build import make_state
from happyhorse.training.loop import draw_example, optimise
from happyhorse.types import ClipShape

CPU = torch.device("cpu")
GIB = 2**30
LARGE = ClipShape(5, 256, 448)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--modes", nargs="*", default=list(MODES), choices=MODES)
    parser.add_argument("--static", action="store_true", help="also compile for these sizes alone")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print_costs(asked.batch)

    steps: dict[str, Callable[[], object]] = {}
    for mode in asked.modes:
        steps[f"eager, {mode}"] = eager_step(asked.batch, mode)
        steps[f"compiled, {mode}"] = compiled_step(asked.batch, mode)
    if asked.static:
        steps["compiled for one size, none"] = static_step(asked.batch)
    print(f"\nfoal, batch {asked.batch}, 5 s 128x128, {asked.threads} threads, torch {torch.__version__}, CPU seconds")
    memory = {}
    for name, step in steps.items():
        began = time.process_time()
        step()
        first = time.process_time() - began
        step()
        memory[name] = peak_bytes(step)
        print(f"{name}: first step {first:.0f}, then at most {memory[name] / GIB:.2f} GiB", flush=True)
    spent = take_turns(steps, asked.rounds, CPU)
    base = next(iter(steps))
    print(f"\n| step | CPU s / threads | times {base} | peak GiB |\n|---|---|---|---|")
    for name in steps:
        ratio = speedup(spent[base], spent[name])
        print(f"| {name} | {median_busy(spent[name]):.2f} | {ratio:.2f} | {memory[name] / GIB:.2f} |")


def eager_step(batch: int, mode: str) -> Callable[[], object]:
    return training_step(foal().replace(compile=False, recompute=mode), batch)


def compiled_step(batch: int, mode: str) -> Callable[[], object]:
    return training_step(foal().replace(compile=True, recompute=mode), batch)


def static_step(batch: int) -> Callable[[], object]:
    """Compiled for this batch and clip alone."""
    return training_step(foal().replace(compile=False), batch, partial(compile_for_training, dynamic=False))


def training_step(
    config: TrainConfig, batch: int, change: Callable[[Transformer], None] | None = None
) -> Callable[[], object]:
    """One step on random latents and prompts, the same for all; ``change`` is done to the model first."""
    state = make_state(config, CPU)
    if change:
        assert isinstance(state.model, Transformer)
        change(state.model)
    torch.manual_seed(0)
    example = draw_example(random_latents(config, SQUARE, batch, CPU), config, 0)
    text = random_text(config, batch, CPU)
    return lambda: optimise(state, example, text, config)


def peak_bytes(step: Callable[[], object]) -> int:
    """Most bytes that were handed out at once during a step, above what there was before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    total = peak = 0
    events: list[Any] = list(seen.profiler.kineto_results.events())
    for event in events:
        if event.name() == "[memory]":
            total += event.nbytes()
            peak = max(peak, total)
    return peak


def print_costs(batch: int) -> None:
    """What the layers keep, by dry runs, for the foal and for one clip of the 15.3 B model."""
    print("| layers of | recompute | kept GiB | TFLOP, forward and backward |\n|---|---|---|---|")
    small = foal().model.replace(matmul_dtype="bfloat16")
    cases = ((f"foal, {batch} clips of 128x128", small, SQUARE, batch), ("15.3 B, 448x256", magihuman_15b(), LARGE, 1))
    for name, config, shape, clips in cases:
        costs = activation_costs(config, shape, clips, 32)
        for mode in MODES:
            kept, flops = (sum(getattr(layer[mode], part) for layer in costs) for part in ("kept", "flops"))
            print(f"| {name} | {mode} | {kept / GIB:.2f} | {flops / 1e12:.2f} |", flush=True)


if __name__ == "__main__":
    main()
