"""The training world for human eyes: what can be asked for, contact sheets of frames over their sound, and clips."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from happyhorse.codecs.media import write_mp4, write_png
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE, Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, prompt, render, sample_plan
from happyhorse.files import whole_file

STRIP_FRAMES = 6
_WAVE_HEIGHT = 32
_GAP = 6
_PAPER, _INK, _EVENT = 250, 70, (214, 60, 48)


def describe_world() -> str:
    """What can be asked for, family by family, with an example each."""
    parts = []
    for name, family in FAMILIES.items():
        example = prompt(sample_plan(1, 5.0, family=name), random.Random(1))
        lines = [name, *(f"  {key}: {_listed(values)}" for key, values in family.attributes.items())]
        parts.append("\n".join([*lines, f"  for example: {example}"]))
    return "\n\n".join(parts)


def write_preview(folder: Path, per_family: int, seed: int, height: int, width: int, seconds: float) -> list[Path]:
    """Draws ``per_family`` scenes of every family into ``folder``: mp4 clips, ``sheet.png`` and ``index.txt``.

    The index says which clip is in which row of the sheet, with its prompt; ``truth.json`` holds the times of what
    happens. OutputError where the folder cannot be written.
    """
    frames_wanted, rows, index, truths, written = round(seconds * FPS), [], [], {}, []
    for name in FAMILIES:
        for number in range(per_family):
            plan = sample_plan(seed + number, seconds, family=name)
            frames, wave = render([plan], Canvas(frames_wanted, height, width))
            path = Path(folder) / f"{name}-{seed + number}.mp4"
            words = prompt(plan, random.Random(seed + number))
            picture = to_bytes(frames[0])
            write_mp4(path, picture, wave.numpy(), FPS, SAMPLE_RATE, json.dumps({"prompt": words}, ensure_ascii=False))
            rows.append(strip(picture, wave[0], plan))
            index.append(f"{len(rows):3d}  {path.name}  {words}")
            truths[path.name] = {
                "attributes": dict(plan.attributes),
                "events": plan.truth.events,
                "words": plan.truth.words,
            }
            written.append(path)
    write_png(Path(folder) / "sheet.png", stack(rows))
    _write_text(Path(folder) / "index.txt", "\n".join(index) + "\n")
    _write_text(Path(folder) / "truth.json", json.dumps(truths, ensure_ascii=False, indent=1) + "\n")
    return [*written, *(Path(folder) / name for name in ("sheet.png", "index.txt", "truth.json"))]


def contact_sheet(plans: Sequence[Plan], height: int, width: int) -> NDArray[np.uint8]:
    """Strips of all plans below each other, uint8 [h, w, 3]; each plan is drawn at ``height`` x ``width``."""
    rows = []
    for plan in plans:
        frames, wave = render([plan], Canvas(round(plan.seconds * FPS), height, width))
        rows.append(strip(to_bytes(frames[0]), wave[0], plan))
    return stack(rows)


def strip(frames: NDArray[np.uint8], wave: Tensor, plan: Plan | None = None) -> NDArray[np.uint8]:
    """Six frames [F, h, w, 3] beside each other over the waveform [S]; the plan's events are ticks on it."""
    chosen = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    pictures = np.concatenate([frames[index] for index in chosen], axis=1)
    sound = draw_wave(wave, pictures.shape[1], _WAVE_HEIGHT)
    for time in plan.truth.events if plan else ():
        column = min(int(time * SAMPLE_RATE / len(wave) * sound.shape[1]), sound.shape[1] - 1)
        sound[:5, column] = _EVENT
    return np.concatenate([pictures, sound], axis=0)


def draw_wave(wave: Tensor, width: int, height: int) -> NDArray[np.uint8]:
    """The waveform [S] in [-1, 1] as a filled outline, uint8 [height, width, 3]."""
    size = -(-len(wave) // width)
    columns = torch.nn.functional.pad(wave, (0, size * width - len(wave))).reshape(width, size)
    level = torch.linspace(1, -1, height)[:, None]
    half = 1 / height
    inside = (level <= columns.amax(1) + half) & (level >= columns.amin(1) - half)
    grey = torch.where(inside, _INK, _PAPER).to(torch.uint8)
    return grey[:, :, None].repeat(1, 1, 3).numpy()


def stack(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images of one width below each other with a gap of paper between them."""
    gap = np.full((_GAP, rows[0].shape[1], 3), _PAPER, np.uint8)
    return np.concatenate([part for row in rows for part in (row, gap)][:-1], axis=0)


def to_bytes(frames: Tensor) -> NDArray[np.uint8]:
    """[3, F, h, w] in [0, 1] to uint8 [F, h, w, 3]."""
    return (frames.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, "utf-8")


def _listed(values: tuple[str, ...], most: int = 14) -> str:
    """The values, or the first of them where there are many."""
    rest = len(values) - most
    return ", ".join(values[:most]) + (f" and {rest} more" if rest > 0 else "")
