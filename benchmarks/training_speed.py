"""How fast the foal trains on this machine: ``python benchmarks/training_speed.py [--batch N] [--compile]``.

Prints a table of seconds for a step and samples per second, by shape and optimiser. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse

import torch

from happyhorse.data.shards import shape_name
from happyhorse.device import best_device, find_device
from happyhorse.recipes.foal import foal
from happyhorse.training.budget import step_seconds
from happyhorse.training.build import make_state
from happyhorse.training.machine import prepare_machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default=None)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    device = find_device(options.device, best_device())
    prepare_machine(device)

    config = foal().replace(compile=options.compile)
    shapes = list(dict.fromkeys(shape for stage in config.stages for shape in stage.shapes))
    print(f"{device}, {torch.get_num_threads()} threads, batch {options.batch}, compile {options.compile}")
    print("| shape | optimiser | s / step | samples / s |")
    print("|---|---|---|---|")
    for kind in ("adamw", "muon"):
        variant = config.replace(optimizer=config.optimizer.replace(kind=kind))
        state = make_state(variant, device)
        for shape in shapes:
            seconds = step_seconds(variant, shape, options.batch, state)
            print(f"| {shape_name(shape)} | {kind} | {seconds:.3f} | {options.batch / seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
