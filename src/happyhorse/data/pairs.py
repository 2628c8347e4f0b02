"""Scenes drawn twice, as a preview and at the size of a render: what super-resolution learns from.

A cache is a folder of files pair-00000.safetensors, one for each scene: "enlarged" and "render" [48, T, H, W] and
"audio" [Na, 64] as float16, with what the scene is as JSON in the metadata. Each file is written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from happyhorse.codecs.codec import Codecs
from happyhorse.data.batch import draw_prompt
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.world import render, sample_plan
from happyhorse.data.shards import encode_plans, encoders_fingerprint
from happyhorse.errors import WeightsError
from happyhorse.files import make_folder, whole_file
from happyhorse.sampling.superres import Enlarging, enlarge
from happyhorse.types import TIME_STRIDE, ClipShape, Latents


@dataclasses.dataclass(frozen=True)
class Pair:
    """A scene, or a window of it."""

    enlarged: Tensor
    """The preview's latents at the size of the render, [48, T, H, W]."""
    render: Tensor
    """Latents of the scene drawn at that size."""
    audio: Tensor
    """[4 (T - 1) + 1, 64]"""


@torch.no_grad()
def make_pair(plan: Plan, shape: ClipShape, settings: Enlarging, codecs: Codecs, device: torch.device | str) -> Pair:
    """A scene as a preview of ``shape``, enlarged, and as a render."""
    preview = encode_plans([plan], shape, codecs, device)
    canvas = Canvas(shape.padded_frames, settings.scale * shape.height, settings.scale * shape.width, device)
    large = codecs.video.encode(render([plan], canvas)[0] * 2 - 1)
    return Pair(enlarge(preview.video, settings, codecs.video)[0], large[0], preview.audio[0])


def fill_pairs(
    folder: Path,
    clips: int,
    shape: ClipShape,
    settings: Enlarging,
    codecs: Codecs,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Makes the pairs that are missing. Raises WeightsError if the folder holds pairs of another kind."""
    make_folder(folder)
    head = {"codecs": encoders_fingerprint(codecs), "shape": dataclasses.asdict(shape), "source": settings.source}
    head |= {"scale": settings.scale, "seed": seed}
    for number in range(clips):
        path = folder / f"pair-{number:05d}.safetensors"
        if path.exists():
            if {**_head(path), **head} != _head(path):
                raise WeightsError(f"{folder} holds pairs of another kind; remove it or choose another")
            continue
        plan = sample_plan(seed + number, shape.seconds)
        pair = make_pair(plan, shape, settings, codecs, device)
        tensors = {
            "enlarged": pair.enlarged.cpu().half().contiguous(),
            "render": pair.render.cpu().half().contiguous(),
            "audio": pair.audio.cpu().half().contiguous(),
        }
        facts = {**head, "family": plan.family, "attributes": dict(plan.attributes)}
        with whole_file(path) as temporary:
            temporary.write_bytes(save(tensors, {"pair": json.dumps(facts, ensure_ascii=False)}))
        if progress:
            progress(number + 1, clips)


def _head(path: Path) -> dict:
    try:
        with safe_open(str(path), framework="pt") as file:
            return json.loads((file.metadata() or {})["pair"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is damaged; remove it, and it will be made again") from error


@dataclasses.dataclass(frozen=True)
class PairBatch:
    """Windows of several scenes."""

    enlarged: Tensor
    """[B, 48, T, H, W]"""
    clean: Latents
    """The render's latents and the sound."""
    prompts: tuple[str, ...]
    begins: Tensor
    """[B] bool: whether a window is the beginning of its clip."""


class Pairs:
    """Random windows of the pairs in a folder, read from the mapped files as they are needed."""

    def __init__(self, folder: Path, prompt_dropout: float) -> None:
        paths = sorted(folder.glob("pair-*.safetensors"))
        if not paths:
            raise WeightsError(f"{folder} holds no pairs")
        self.prompt_dropout = prompt_dropout
        self.heads = [_head(path) for path in paths]
        self.files = [safe_open(str(path), framework="pt") for path in paths]

    def batch(self, frames: int, side: int, count: int, generator: torch.Generator) -> PairBatch:
        """``count`` windows of ``frames`` latent frames and ``side`` rows and columns, in random places."""
        rng = random.Random(int(torch.randint(2**62, (), generator=generator)))
        chosen = [rng.randrange(len(self.files)) for _ in range(count)]
        windows = [self._window(row, frames, side, rng) for row in chosen]
        pairs = [pair for pair, _ in windows]
        return PairBatch(
            torch.stack([pair.enlarged for pair in pairs]),
            Latents(torch.stack([pair.render for pair in pairs]), torch.stack([pair.audio for pair in pairs])),
            tuple(self._prompt(self.heads[row], rng) for row in chosen),
            torch.tensor([begins for _, begins in windows]),
        )

    def _window(self, row: int, frames: int, side: int, rng: random.Random) -> tuple[Pair, bool]:
        """A window, and whether it is the beginning of the clip. Its sound is that of its latent frames' last pixel
        frames and what lies between them, as the model's positions have it."""
        file = self.files[row]
        _, total, height, width = file.get_slice("render").get_shape()
        start, top, left = (rng.randrange(n - m + 1) for n, m in ((total, frames), (height, side), (width, side)))
        place = slice(None), slice(start, start + frames), slice(top, top + side), slice(left, left + side)
        sounds = slice(TIME_STRIDE * start, TIME_STRIDE * (start + frames - 1) + 1)
        enlarged, render = (file.get_slice(name)[place].float() for name in ("enlarged", "render"))
        return Pair(enlarged, render, file.get_slice("audio")[sounds].float()), start == 0

    def _prompt(self, head: Mapping, rng: random.Random) -> str:
        return draw_prompt(head["family"], head["attributes"], self.prompt_dropout, rng)
