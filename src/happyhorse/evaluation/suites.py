"""The prompt suites: fixed lists of what to ask a model for, kept as files and known by their hashes.

    python -m happyhorse.evaluation.suites [NAME ...]    # makes them anew, after a change of the world; prints hashes

A suite names everything that its scenes need, so that it stays what it is when the world's drawing of lots changes.
Prompts are worded as training never words them, and every other case shows a combination (or says a sentence) that is
never trained on.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from happyhorse.config import Config
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.errors import ConfigError
from happyhorse.evaluation.measure import Case, make_cases
from happyhorse.files import whole_file

SQUARE, WIDE, TALL = (128, 128), (96, 160), (160, 96)
SIZES = {"foal-quick": (8, SQUARE), "foal-wide": (8, WIDE), "foal-tall": (8, TALL), "foal-full": (64, SQUARE)}
"""Cases of each family, and their height and width in pixels."""
HASHES = {
    "foal-quick": "37e00c79333a22e118c5ce834a5736cfb58cd83545b5d5499b37818a1798d55a",
    "foal-wide": "c2f040d70a5a82ab9675e147fc3f7e1d7caaac73500fe4bbb99b3e551e34beab",
    "foal-tall": "b791a615bd2db954c7eda4f04e96880e89e28015b6dee18e80ff376136e87389",
    "foal-full": "6e77eb84b79391d8a9c138ebe5a6471ec932262de2d09038d00c71261b465ea8",
}
"""SHA-256 of each suite's file."""
IMAGES = 2
"""Cases of each family that are also asked for with parts given."""


@dataclasses.dataclass(frozen=True)
class Suite(Config):
    """What to ask for."""

    name: str
    seconds: float
    """Length of every clip."""
    size: tuple[int, int]
    """Height and width in pixels."""
    cases: tuple[dict[str, Any], ...]
    """Family, seed, attributes, prompt, and whether parts are given too (called "image"), of each case."""

    def plans(self) -> list[Case]:
        """The cases, each with the scene that it asks for, named by their family and their number in it."""
        counts = collections.Counter[str]()
        found = []
        for case in self.cases:
            family, number = case["family"], counts[case["family"]]
            plan = FAMILIES[family].plan(case["seed"], self.seconds, case["attributes"])
            found.append(Case(f"{family}-{number:02d}", plan, case["prompt"], case["image"], with_seeds=number == 0))
            counts[family] += 1
        return found


def load_suite(name: str) -> Suite:
    """The suite of a name. Raises ConfigError, listing the known ones, if there is none or if its file was changed."""
    if name not in HASHES:
        raise ConfigError(f"suite {name!r} is unknown; known are {', '.join(HASHES)}")
    data = resources.files("happyhorse.evaluation").joinpath("suites", f"{name}.json").read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != HASHES[name]:
        raise ConfigError(f"suite {name} was changed: SHA-256 {found[:16]}... instead of {HASHES[name][:16]}...")
    return Suite.from_dict(json.loads(data))


def make_suite(name: str) -> Suite:
    """A suite drawn anew from the world; suites of the same number of cases differ in size alone."""
    per_family, size = SIZES[name]
    return suite_of(name, make_cases(per_family, 5.0, IMAGES), 5.0, size)


def suite_of(name: str, cases: Sequence[Case], seconds: float, size: tuple[int, int]) -> Suite:
    """Cases as a suite of clips of so many seconds and pixels (height, width)."""
    rows = [
        {
            "family": case.plan.family,
            "seed": case.plan.seed,
            "attributes": dict(case.plan.attributes),
            "prompt": case.prompt,
            "image": case.with_given,
        }
        for case in cases
    ]
    return Suite(name, seconds, size, tuple(rows))


def write_suite(suite: Suite, folder: Path) -> str:
    """Writes a suite, a line a case, and returns its hash."""
    head = {**suite.to_dict(), "cases": []}
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in suite.cases)
    text = json.dumps(head, ensure_ascii=False)[: -len("]}")] + "\n" + lines + "\n]}\n"
    with whole_file(folder / f"{suite.name}.json") as temporary:
        temporary.write_text(text, "utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> int:
    chosen = sys.argv[1:] or list(SIZES)
    with resources.as_file(resources.files("happyhorse.evaluation").joinpath("suites")) as folder:
        folder.mkdir(exist_ok=True)
        for name in chosen:
            print(f'"{name}": "{write_suite(make_suite(name), folder)}",')
    return 0


if __name__ == "__main__":
    sys.exit(main())
