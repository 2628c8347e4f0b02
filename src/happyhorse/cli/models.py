"""``happyhorse models``, ``pull``, ``verify`` and ``rm``: which models there are, and the public weights here."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from happyhorse.cli.doctor import MEMORY_GIB_NEEDED
from happyhorse.cli.main import EXIT_MEND, EXIT_STOPPED, say
from happyhorse.cli.progress import bytes_bar
from happyhorse.errors import WeightsError
from happyhorse.weights import hub, kept
from happyhorse.weights.catalogue import MODELS, SHARED, PublicModel, find, models_folder, readable
from happyhorse.weights.kept import State
from happyhorse.weights.registry import FOAL, Entry, resolve

ROOM = 1.15
"""A network needs this many times the bytes of its weights: activations and the codecs want some too."""
LEAST_GPU, LEAST_MEMORY = 8 * 2**30, 8 * 2**30
"""Bytes from which layers can be streamed through a GPU, or read from disk on a CPU: a preview of 5 s."""


# ---------------------------------------------------------------------------------------------------------- the machine
@dataclasses.dataclass(frozen=True)
class Machine:
    """What decides whether a model can be used here, in bytes."""

    disk: int
    """Free where public weights go."""
    memory: int
    """All there is; 0 where the system does not tell."""
    gpu: int
    """Of the largest GPU; 0 if there is none."""


def this_machine() -> Machine:
    """Looks at the disk, the memory and the GPUs."""
    folder = models_folder()
    while not folder.exists():
        folder = folder.parent
    return Machine(shutil.disk_usage(folder).free, _memory(), _gpu_memory())


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _gpu_memory() -> int:
    import torch

    try:
        gpus = range(torch.cuda.device_count())
        return max((torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus), default=0)
    except RuntimeError:
        return 0


def fit(model: PublicModel, here: State, machine: Machine) -> tuple[str, str]:
    """Whether a model can be used on a machine: "yes", "slow" or "no", and what decides it."""
    missing = sum(part.bytes or 0 for part in model.parts.values() if part.name in here.missing)
    fetch = min(missing, max(model.bytes - here.bytes, 0))  # either is too much, of parts that were begun or narrowed
    if fetch > machine.disk:
        return "no", f"{readable(fetch)} to fetch, {readable(machine.disk)} free on the disk"
    if not model.memory:
        return "yes", ""
    needed = model.memory * ROOM
    gpu, memory = readable(machine.gpu), readable(machine.memory)
    if machine.gpu >= needed:
        return "yes", f"takes {readable(needed)} of the GPU's {gpu}"
    if machine.gpu >= LEAST_GPU:
        return "yes", f"streamed through the GPU's {gpu}: happyhorse doctor --model plans it"
    if machine.memory >= LEAST_MEMORY:
        return "slow", "on the CPU" + ("" if machine.memory >= needed else ", its layers read from disk in every step")
    return "no", f"takes {readable(LEAST_MEMORY)}; the machine has {memory}"


# ------------------------------------------------------------------------------------------------------------- the list
def list_models(as_json: bool) -> None:
    """Prints all models and shared parts: what they make, their licence and size, and what of them is here."""
    machine = this_machine()
    rows = [_foal_facts(entry, machine) for entry in FOAL]
    rows += [_public_facts(model, machine) for model in (*MODELS, *SHARED)]
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "what it does", "licence", "size", "here", "fits", title=f"public weights: {models_folder()}")
    for row in rows:
        fits = row["fits"] + (f": {row['why']}" if row["why"] else "")
        table.add_row(row["name"], row["summary"], row["licence"], row["size"], row["here"], fits)
    Console(width=None if Console().is_terminal else 200).print(table)


def _foal_facts(entry: Entry, machine: Machine) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": entry.name, "summary": entry.summary, "licence": "Apache-2.0", "gated": []}
    try:
        model = resolve(entry.name)
        size = sum(model.manifest.files[role]["bytes"] for role in (model.generator, "video", "audio"))
    except (WeightsError, KeyError) as error:
        return {**facts, "size": "unknown", "bytes_here": 0, "here": "damaged", "fits": "no", "why": str(error)}
    fits = not machine.memory or machine.memory >= MEMORY_GIB_NEEDED * 2**30
    why = "" if fits else f"a clip takes up to {MEMORY_GIB_NEEDED} GiB, the machine has {readable(machine.memory)}"
    return {
        **facts,
        "size": readable(size),
        "bytes_here": size,
        "here": "complete",
        "fits": "yes" if fits else "no",
        "why": why,
    }


def _public_facts(model: PublicModel, machine: Machine) -> dict[str, Any]:
    here = kept.state(model)
    fits, why = fit(model, here, machine)
    return {
        "name": model.name,
        "summary": model.summary,
        "licence": model.licences,
        "gated": [part.name for part in model.parts.values() if part.gate == "gated"],
        "size": readable(here.bytes) if here.kind == "complete" else model.size,
        "bytes_here": here.bytes,
        "here": str(here),
        "fits": fits,
        "why": why,
    }


# ---------------------------------------------------------------------------------------------- pull, verify and remove
def pull_model(name: str) -> int:
    """Fetches what of a model is not here yet and returns the exit code.

    Raises WeightsError or OutputError saying what is in the way.
    """
    model = _public(name)
    say(f"{name}: {model.size} in all, into {models_folder()}; licences: {model.licences}")
    try:
        with Bar() as bar:
            done = hub.pull(model, bar)
    except KeyboardInterrupt:
        say(f"stopped; what was fetched is kept, and happyhorse pull {name} goes on with it")
        return EXIT_STOPPED
    print(f"{name} is complete: {done.files} files, {readable(done.bytes)}, in {models_folder()}")
    if model.beside and not any(kept.state(find(other)).kind == "complete" for other in model.beside):
        say(f"note: it works beside {' or '.join(model.beside)}; pull one of them as well")
    return 0


def verify_model(name: str, quick: bool) -> int:
    """Compares a model's files with what was fetched, prints those that differ and returns the exit code."""
    model = _public(name)
    with Bar() as bar:
        problems = kept.verify(model, quick, bar)
    for problem in problems:
        print(problem)
    if problems:
        say(f"error: {len(problems)} of its files are not as they were fetched; mend them with: happyhorse pull {name}")
        return EXIT_MEND
    here = kept.state(model)
    print(f"{name}: {here.files} files, {readable(here.bytes)}, {'sizes' if quick else 'hashes'} verified")
    return 0


def remove_model(name: str, force: bool) -> None:
    """Deletes a model's files, but those that other models here use. Raises WeightsError if nothing can be deleted."""
    done = kept.remove(_public(name), force)
    print(f"removed {', '.join(done.parts)}: {readable(done.bytes)} freed")
    for part, users in done.kept.items():
        say(f"note: {part} stays, since {', '.join(users)} uses it")


def _public(name: str) -> PublicModel:
    if name in [entry.name for entry in FOAL]:
        raise WeightsError(f"{name} is part of this package: always here, and verified by happyhorse doctor")
    return find(name)


class Bar:
    """Called with (bytes done, bytes in all, file): a bar with speed and time left, or a line per file in a log."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._file = ""

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._bar = bytes_bar()
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def __call__(self, done: int, total: int, file: str) -> None:
        name = Path(file).name
        if self._bar is None:
            if name and name != self._file:
                say(f"{readable(done)} of {readable(total)}: {name}")
        elif self._task is None:  # what is here already must not count as speed
            self._task = self._bar.add_task(name, total=total, completed=done)
        else:
            self._bar.update(self._task, completed=done, description=name)
        self._file = name
