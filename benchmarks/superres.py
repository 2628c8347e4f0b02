"""Renders against the scenes that they should show, beside bicubic enlargement of the same previews.

``python benchmarks/superres.py [MODEL] [--clips 10] [--seconds 2] [--sheet sheet.png]``

Previews are real scenes at 128 px through the codec, so the truth at 512 px is known. One more preview, of 5 s, is
generated, rendered and timed.
"""

from __future__ import annotations

import argparse
import random
import resource
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from happyhorse import Pipeline
from happyhorse.clip import Clip
from happyhorse.codecs.images import write_png
from happyhorse.data.scenes.scene import SAMPLE_RATE, Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, prompt, render, sample_plan
from happyhorse.evaluation.fidelity import ssim
from happyhorse.evaluation.readings import Frames, psnr
from happyhorse.sampling import conditions
from happyhorse.sampling.render import Preview, Renderer
from happyhorse.sampling.superres import bicubic
from happyhorse.types import ClipShape, Latents

FIRST_SEED = 940_000_000
SIDE = 128
EVERY = 6
"""Frames between two that SSIM is measured on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="foal")
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--sheet", type=Path, default=None, help="writes frames side by side: truth, bicubic, render")
    asked = parser.parse_args()
    renderer, rows, pictures = Renderer.from_pretrained(asked.model), [], []
    for number in range(asked.clips):
        family = list(FAMILIES)[number % len(FAMILIES)]
        plan = sample_plan(FIRST_SEED + number, asked.seconds, family=family)
        shown = versions(plan, renderer)
        rows.append((family, scores(shown)))
        pictures.append(
            np.concatenate([shown[name][len(shown[name]) // 2] for name in ("truth", "bicubic", "render")], 1)
        )
    report(rows)
    if asked.sheet:
        write_png(asked.sheet, np.concatenate(pictures))
    timed(asked.model, renderer)


def versions(plan: Plan, renderer: Renderer) -> dict[str, Frames]:
    """A scene at 512 px: as it is, through the codec, and from its preview at 128 px in two ways; and that preview."""
    scale, shape = renderer.parts.settings.scale, ClipShape(plan.seconds, SIDE, SIDE)
    preview = preview_of(plan, shape, renderer)
    truth = render([plan], Canvas(shape.padded_frames, scale * SIDE, scale * SIDE))[0] * 2 - 1
    with torch.inference_mode():
        latents = renderer.parts.video.encode(truth)
        through = conditions.pixels(renderer.parts.video.decode(latents))
        plain = conditions.pixels(bicubic(conditions.picture(preview.frames), scale))
    made = renderer.render(preview)
    assert np.array_equal(made.audio, preview.audio), "a render has its preview's sound"
    found = {"truth": conditions.pixels(truth), "codec": through, "bicubic": plain, "render": made.frames}
    return {name: frames[: shape.frames] for name, frames in {**found, "preview": preview.frames}.items()}


@torch.inference_mode()
def preview_of(plan: Plan, shape: ClipShape, renderer: Renderer) -> Preview:
    """A real scene as the codec shows it."""
    frames, wave = render([plan], Canvas(shape.padded_frames, shape.height, shape.width))
    parts = renderer.parts
    latents = Latents(parts.video.encode(frames * 2 - 1), parts.audio.encode(wave))
    sound = parts.audio.decode(latents.audio).numpy()[:, : shape.frames * SAMPLE_RATE // shape.fps]
    words = prompt(plan, random.Random(plan.seed), "held_out")
    return Preview(
        conditions.pixels(parts.video.decode(latents.video))[: shape.frames], sound, {"prompt": words}, latents
    )


def scores(shown: dict[str, Frames]) -> dict[str, dict[str, float]]:
    truth = shown["truth"]
    found = {
        name: {
            "PSNR": psnr(truth, shown[name]),
            "SSIM": float(np.mean([ssim(a, b) for a, b in zip(truth[::EVERY], shown[name][::EVERY], strict=True)])),
            "sharpness": float(edges(shown[name]).mean() / edges(truth).mean()),
            "edges PSNR": edge_psnr(truth, shown[name]),
            "composition": psnr(shown["preview"], smaller(shown[name], shown["preview"].shape[1])),
        }
        for name in ("codec", "bicubic", "render")
    }
    return found


def edges(frames: Frames) -> NDArray[np.float32]:
    """Absolute differences of neighbouring pixels in grey, [F, height - 1, width - 1], in levels."""
    grey = frames[::EVERY].astype(np.float32).mean(-1)
    return np.abs(np.diff(grey, axis=1))[:, :, :-1] + np.abs(np.diff(grey, axis=2))[:, :-1]


def edge_psnr(one: Frames, other: Frames) -> float:
    """PSNR of the edges, in dB."""
    return float(10 * np.log10(255**2 / np.square(edges(one) - edges(other)).mean()))


def smaller(frames: Frames, side: int) -> Frames:
    """Frames averaged down to ``side`` rows."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(pixels, frames.shape[1] // side).round().byte().permute(0, 2, 3, 1).numpy()


def report(rows: list[tuple[str, dict[str, dict[str, float]]]]) -> None:
    names = list(rows[0][1]["render"])
    for family in (*dict.fromkeys(family for family, _ in rows), "all"):
        table = Table(family, *names, title=f"{sum(family in ('all', one) for one, _ in rows)} clips")
        for version in rows[0][1]:
            chosen = [row[version] for one, row in rows if family in ("all", one)]
            table.add_row(version, *(f"{np.mean([row[name] for row in chosen]):.2f}" for name in names))
        Console().print(table)


def timed(model: str, renderer: Renderer) -> None:
    """A generated preview of 5 s: how long its render takes, with how much memory, and whether it keeps the preview."""
    clip = Pipeline.from_pretrained(model)("a red ball bounces on wood", seed=1)
    made: Clip = renderer.render(clip)
    seconds = ", ".join(f"{name} {spent:.1f}" for name, spent in made.timings.items())
    kept = psnr(clip.frames, smaller(made.frames, clip.frames.shape[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"5 s at {made.frames.shape[2]}x{made.frames.shape[1]}: {sum(made.timings.values()):.1f} s ({seconds})")
    print(f"peak memory of this process: {peak:.1f} GiB; the render averaged down is the preview at {kept:.1f} dB")


if __name__ == "__main__":
    main()
