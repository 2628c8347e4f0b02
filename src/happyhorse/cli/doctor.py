"""``happyhorse doctor``: what this machine has, what will work, what is missing and the command that mends it."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Literal

from happyhorse.errors import WeightsError

MEMORY_GIB_NEEDED = 2
DISK_MIB_NEEDED = 100

State = Literal["ok", "missing", "optional"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    state: State
    """"missing" stops generation; "optional" is something that only some commands want."""
    detail: str
    fix: str = ""
    """The command or step that mends it."""


def examine() -> list[Finding]:
    """Looks at everything that matters here."""
    return [
        _python(),
        _torch(),
        _encoders(),
        _memory(),
        _disk(),
        *_weights(),
        _gpu(),
        _program("espeak-ng", "only to rebuild the speech bank that training uses", "apt-get install espeak-ng"),
        _module("pyloudnorm", "only to measure models (happyhorse evaluate)", "pip install 'happyhorse[eval]'"),
    ]


def report(findings: list[Finding]) -> int:
    """Prints the findings; returns 0 if clips can be made here, else 2."""
    for finding in findings:
        print(f"{finding.state:<9} {finding.what}: {finding.detail}")
        if finding.state != "ok" and finding.fix:
            print(f"{'':<9} -> {finding.fix}")
    broken = [finding.what for finding in findings if finding.state == "missing"]
    print(f"generate will not work: {', '.join(broken)}" if broken else "generate will work here")
    return 2 if broken else 0


def print_plan(name: str, render: str | None, number_format: str, memory: float | None) -> int:
    """Prints where the parts of a public model would go, and what a clip of 5 s is expected to take; returns 0.

    ``memory`` GiB stands for a GPU that is not here. Raises DeviceMemoryError, saying what is missing, if it does not
    fit, WeightsError for a model that makes no clips.
    """
    import torch

    from happyhorse.device import best_device
    from happyhorse.memory.plan import Room, gib, plan
    from happyhorse.memory.room import host_free, room_on
    from happyhorse.sampling.public_parts import GENERATORS, T5GEMMA_9B, kind_of, stages
    from happyhorse.sampling.public_request import make_public_request
    from happyhorse.weights.formats import check_format

    check_format(number_format)
    kind = kind_of(name)
    request = make_public_request("a plan", GENERATORS[kind], render=render or None)
    needed = stages(kind, request, True, number_format, T5GEMMA_9B)
    device = torch.device("cuda" if memory is not None else best_device())
    room = room_on(device) if memory is None else Room(int(memory * 2**30), host_free())
    where = f"{gib(room.device)} free on {device}" + (f", {gib(room.host)} in host memory" if room.host else "")
    print(f"{name}, {number_format}, {request.shape.width}x{request.shape.height}, 5 s: {where}")
    for line in plan(needed, room).lines():
        print(f"  {line}")
    return 0


def _python() -> Finding:
    fine = sys.version_info >= (3, 11)
    return Finding("python", "ok" if fine else "missing", platform.python_version(), "install Python 3.11 or newer")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", "missing", str(error), "pip install torch")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{torch.__version__}, {torch.get_num_threads()} threads on {cores} cores, {_processor()}"
    return Finding("torch", "ok", detail)


def _processor() -> str:
    return platform.machine() or "unknown processor"


def _encoders() -> Finding:
    try:
        import av
    except ImportError as error:
        return Finding("mp4", "missing", str(error), "pip install av")
    lacking = [name for name in ("libx264", "aac") if name not in av.codecs_available]
    if lacking:
        fix = "pip install --force-reinstall --only-binary av av"
        return Finding("mp4", "missing", f"PyAV was built without {', '.join(lacking)}", fix)
    return Finding("mp4", "ok", f"H.264 and AAC by PyAV {av.__version__}; no ffmpeg program is needed")


def _memory() -> Finding:
    try:
        from happyhorse.memory.room import host_free
    except ImportError as error:
        return Finding("memory", "missing", str(error), "pip install torch")
    available = host_free() / 2**30
    state: State = "ok" if available >= MEMORY_GIB_NEEDED else "optional"
    detail = f"{available:.1f} GiB free; a clip takes up to {MEMORY_GIB_NEEDED}"
    return Finding("memory", state, detail, "close other programs, or make shorter clips")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 2**20
    writable = os.access(Path.cwd(), os.W_OK)
    fine = free >= DISK_MIB_NEEDED and writable
    detail = f"{free / 1024:.1f} GiB free in {Path.cwd()}{'' if writable else ', which is not writable'}"
    return Finding("disk", "ok" if fine else "missing", detail, "free some space, or change to a folder of yours")


def _weights() -> list[Finding]:
    """One finding per model: every file's hash is computed."""
    try:
        from happyhorse.weights.catalogue import find
        from happyhorse.weights.kept import state
        from happyhorse.weights.registry import ENTRIES, resolve
        from happyhorse.weights.store import verified
    except ImportError as error:
        return [Finding("weights", "missing", str(error), "pip install happyhorse")]
    findings = []
    for entry in ENTRIES:
        if entry.needs:
            here = state(find(entry.name))
            detail = str(here) if here.kind == "complete" else f"needs {entry.needs}"
            findings.append(Finding(entry.name, "ok" if here.kind == "complete" else "optional", detail))
            continue
        try:
            model = resolve(entry.name)
            roles = (model.generator, "video", "audio")
            size = sum(verified(model.folder, model.manifest, role).stat().st_size for role in roles)
            detail = f"{len(roles)} weight files, {size / 2**20:.1f} MiB, hashes verified"
            findings.append(Finding(entry.name, "ok", detail))
        except WeightsError as error:
            fix = "pip install --force-reinstall --no-deps happyhorse"
            findings.append(Finding(entry.name, "missing", str(error), fix))
    return findings


def _gpu() -> Finding:
    try:
        import torch

        found = torch.cuda.is_available()
        detail = torch.cuda.get_device_name() if found else "none; the foal runs on the CPU"
    except (ImportError, RuntimeError) as error:
        found, detail = False, str(error)
    return Finding("gpu", "ok" if found else "optional", detail)


def _program(name: str, purpose: str, fix: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, "ok" if path else "optional", path or f"not installed; {purpose}", fix)


def _module(name: str, purpose: str, fix: str) -> Finding:
    found = importlib.util.find_spec(name) is not None
    return Finding(name, "ok" if found else "optional", "installed" if found else f"not installed; {purpose}", fix)
