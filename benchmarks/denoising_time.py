"""How much sooner the distilled model is done than the base at its best: the same prompts in turn, in one run.

``python benchmarks/denoising_time.py [--clips 5] [--base-steps 50]``
"""

from __future__ import annotations

import argparse
import statistics

from rich.console import Console
from rich.table import Table

from happyhorse import Pipeline
from happyhorse.recipes.foal import PROMPTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=5, help="clips of each model")
    parser.add_argument("--base-steps", type=int, default=50, help="steps of the base, each of two passes")
    asked = parser.parse_args()
    models = {"foal-base": asked.base_steps, "foal": None}
    pipelines = {name: Pipeline.from_pretrained(name) for name in models}
    for name, pipeline in pipelines.items():  # the first clip of a process pays for what is made once
        pipeline(PROMPTS[0], seed=0, steps=1 if name == "foal" else 2)
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for clip in range(asked.clips):
        for name, pipeline in pipelines.items():
            made = pipeline(PROMPTS[clip % len(PROMPTS)], seed=clip, steps=models[name])
            seconds[name].append(dict(made.timings))
    table = Table("model", "steps", "denoising, s", "whole clip, s", title=f"median of {asked.clips} clips of 5 s")
    middle = {}
    for name, pipeline in pipelines.items():
        middle[name] = statistics.median(one["denoise"] for one in seconds[name])
        whole = statistics.median(sum(one.values()) for one in seconds[name])
        table.add_row(name, str(models[name] or pipeline.parts.sampling.steps), f"{middle[name]:.2f}", f"{whole:.2f}")
    Console().print(table)
    print(f"denoising: {middle['foal-base'] / middle['foal']:.1f} times less")


if __name__ == "__main__":
    main()
