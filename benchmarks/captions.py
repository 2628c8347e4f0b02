"""How much of real scenes the model's captions get right: every attribute that a caption names is a slot.

``python benchmarks/captions.py [MODEL] [--per-family 24]``

The scenes were not trained on; every other one shows a combination, or says a sentence, that never is.
"""

from __future__ import annotations

import argparse
import collections

from rich.console import Console
from rich.progress import track
from rich.table import Table

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.captions import slots
from happyhorse.data.scenes.scene import Plan
from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.data.shards import encode_plans
from happyhorse.sampling.caption import Captioner
from happyhorse.types import ClipShape

FIRST_SEED = 945_000_000
SHAPE = ClipShape(5, 128, 128)
SPLITS = ("train", "held_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="foal-base")
    parser.add_argument("--per-family", type=int, default=24)
    parser.add_argument("--show", action="store_true", help="prints every caption that is wrong somewhere")
    asked = parser.parse_args()
    captioner = Captioner.from_pretrained(asked.model)
    right: dict[tuple[str, str, str], list[bool]] = collections.defaultdict(list)
    for number in track(range(asked.per_family * len(FAMILIES))):
        family, split = list(FAMILIES)[number % len(FAMILIES)], SPLITS[number // len(FAMILIES) % 2]
        plan = sample_plan(FIRST_SEED + number, SHAPE.seconds, split, family)
        text = written(captioner, plan)
        found = slots(text, family, plan.attributes)
        for name, good in found.items():
            right[family, name, split].append(good)
        if asked.show and not all(found.values()):
            print(f"{[name for name, good in found.items() if not good]}: {text}  ({dict(plan.attributes)})")
    report(right)


def written(captioner: Captioner, plan: Plan) -> str:
    """The caption of a real scene."""
    codecs = Codecs(captioner.video, captioner.audio)
    return captioner.write(encode_plans([plan], SHAPE, codecs, captioner.device))


def report(right: dict[tuple[str, str, str], list[bool]]) -> None:
    table = Table("family", "slot", "trained combinations", "held out")
    for family, name in dict.fromkeys((family, name) for family, name, _ in right):
        table.add_row(family, name, *(share(right[family, name, split]) for split in SPLITS))
    Console().print(table)
    for split in SPLITS:
        every = [good for (_, _, one), values in right.items() if one == split for good in values]
        print(f"{split}: {share(every)} of {len(every)} slots")
    every = [good for values in right.values() for good in values]
    print(f"all: {share(every)} of {len(every)} slots")


def share(values: list[bool]) -> str:
    return f"{sum(values) / len(values):.3f}" if values else "-"


if __name__ == "__main__":
    main()
