"""Latents made once and read many times.

A cache is a folder with one sub-folder for each shape ("128x128-5s") of files shard-00000.safetensors: video
[n, 48, T, H, W] and audio [n, Na, 64] as float16, with what each clip is (seed, family, attributes) as JSON in the
file's metadata. Each shard is written whole or not at all, so an interrupted cache is simply continued.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from happyhorse.codecs.codec import Codecs
from happyhorse.data.batch import Batch, draw_prompts
from happyhorse.data.scenes.captions import caption
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.world import render, sample_plan
from happyhorse.errors import WeightsError
from happyhorse.files import whole_file
from happyhorse.types import ClipShape, Latents

SHARD_CLIPS = 256
Progress = Callable[[int, int], None]


def encoders_fingerprint(codecs: Codecs) -> str:
    """16 hex digits over all weights that encode: latents of other encoders mean something else."""
    digest = hashlib.sha256()
    for module in (codecs.video, codecs.audio):
        assert isinstance(module, nn.Module)
        for name, tensor in sorted(module.state_dict().items()):
            if name.partition(".")[0] in getattr(module, "DECODING", ()):
                continue
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.no_grad()
def encode_plans(plans: Sequence[Plan], shape: ClipShape, codecs: Codecs, device: torch.device | str) -> Latents:
    """Scenes drawn, sounded and encoded: float32 latents on ``device``."""
    canvas = Canvas(shape.padded_frames, shape.height, shape.width, device)
    frames, waveform = render(plans, canvas)
    return Latents(codecs.video.encode(frames * 2 - 1).float(), codecs.audio.encode(waveform).float())


# ------------------------------------------------------------------------------------------------------------- writing


def cache(
    folder: Path | str,
    shape: ClipShape,
    clips: int,
    codecs: Codecs,
    *,
    seed: int = 0,
    split: str = "train",
    family: str | None = None,
    device: torch.device | str = "cpu",
    batch: int = 8,
    progress: Progress | None = None,
) -> Path:
    """Makes the latents of ``clips`` scenes of one shape, or what is still missing of them; returns their sub-folder.

    Clip n shows the scene of seed ``seed + n``, of one ``family`` if it is given. ``progress(done, total)`` is called
    after each batch. Raises WeightsError if the folder holds latents of other codecs, seeds or families, OutputError if
    it cannot be written.
    """
    target = Path(folder) / shape_name(shape)
    target.mkdir(parents=True, exist_ok=True)
    head = {"codecs": encoders_fingerprint(codecs), "seed": seed, "split": split, "shape": shape_name(shape)}
    head |= {"family": family} if family else {}
    for number, start in enumerate(range(0, clips, SHARD_CLIPS)):
        path = target / f"shard-{number:05d}.safetensors"
        count = min(SHARD_CLIPS, clips - start)
        if not _complete(path, head, count):
            seeds = range(seed + start, seed + start + count)
            _write_shard(path, head, seeds, shape, codecs, device, batch, _shifted(progress, start, clips))
    return target


def shape_name(shape: ClipShape) -> str:
    """Name of a shape's sub-folder: "128x128-5s"."""
    return f"{shape.width}x{shape.height}-{shape.seconds:g}s"


def _complete(path: Path, head: dict[str, Any], count: int) -> bool:
    """Whether the shard is there; a shard that a smaller cache ended with is made again."""
    if not path.exists():
        return False
    stored = _read_head(path)
    different = [key for key in sorted({*head, "family"}) if stored.get(key) != head.get(key)]
    if different:
        raise WeightsError(
            f"{path.parent} holds latents of other {' and '.join(different)}; remove it or choose another"
        )
    return len(stored["clips"]) >= count


def _read_head(path: Path) -> dict[str, Any]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return json.loads((file.metadata() or {})["cache"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{path} is damaged; remove it, and it will be made again") from error


def _shifted(progress: Progress | None, start: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(start + done, total) if progress else None


def _write_shard(
    path: Path,
    head: dict[str, Any],
    seeds: range,
    shape: ClipShape,
    codecs: Codecs,
    device: torch.device | str,
    batch: int,
    progress: Callable[[int], None],
) -> None:
    plans = [sample_plan(seed, shape.frames / shape.fps, head["split"], head.get("family")) for seed in seeds]
    parts = []
    for start in range(0, len(plans), batch):
        parts.append(encode_plans(plans[start : start + batch], shape, codecs, device).to("cpu", torch.float16))
        progress(min(start + batch, len(plans)))
    tensors = {"video": torch.cat([p.video for p in parts]), "audio": torch.cat([p.audio for p in parts])}
    clips = [{"seed": p.seed, "family": p.family, "attributes": dict(p.attributes)} for p in plans]
    with whole_file(path) as temporary:
        temporary.write_bytes(save(tensors, {"cache": json.dumps({**head, "clips": clips}, ensure_ascii=False)}))


# ------------------------------------------------------------------------------------------------------------- reading


class LatentDataset:
    """Batches from a cache.

    On the CPU memory stays flat, because rows are read from the mapped files as they are needed; on a GPU, which is
    faster than that, everything is kept in its memory as float16.
    """

    def __init__(
        self, folder: Path | str, seed: int = 0, prompt_dropout: float = 0.1, device: torch.device | str = "cpu"
    ) -> None:
        self.seed, self.prompt_dropout = seed, prompt_dropout
        folders = sorted(path for path in Path(folder).glob("*") if path.is_dir()) if Path(folder).is_dir() else []
        self._sets = {
            path.name: _ShardSet(path, torch.device(device))
            for path in folders
            if any(path.glob("shard-*.safetensors"))
        }
        if not self._sets:
            raise WeightsError(f"{folder} holds no cached latents; make them first (happyhorse train foal does)")

    def count(self, shape: ClipShape) -> int:
        """Number of clips of a shape."""
        return len(self._set(shape).clips)

    def batch(self, step: int, shape: ClipShape, size: int) -> Batch:
        """``size`` clips; over the steps every clip comes once before any comes again (if ``size`` is constant)."""
        shards = self._set(shape)
        rows = [self._row(len(shards.clips), step * size + place) for place in range(size)]
        clips = [(shards.clips[row]["family"], shards.clips[row]["attributes"]) for row in rows]
        prompts = draw_prompts(clips, self.prompt_dropout, self.seed, step)
        return Batch(shards.read(rows), prompts, tuple(caption(*clip) for clip in clips))

    def _row(self, count: int, position: int) -> int:
        epoch, place = divmod(position, count)
        return permutation(count, self.seed, epoch)[place]

    def _set(self, shape: ClipShape) -> _ShardSet:
        name = shape_name(shape)
        if name not in self._sets:
            raise WeightsError(f"the cache holds no {name} clips, only {', '.join(self._sets)}; make them first")
        return self._sets[name]


@functools.lru_cache(maxsize=8)
def permutation(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order in which an epoch visits ``count`` clips."""
    order = list(range(count))
    random.Random(f"epoch/{seed}/{epoch}").shuffle(order)
    return tuple(order)


class _ShardSet:
    """The shards of one shape."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        paths = sorted(folder.glob("shard-*.safetensors"))
        heads = [_read_head(path) for path in paths]
        if len({(head["codecs"], head["seed"]) for head in heads}) > 1:
            raise WeightsError(f"shards in {folder} come from different codecs; remove the folder, to make it again")
        self.codecs: str = heads[0]["codecs"]
        self.clips = [clip for head in heads for clip in head["clips"]]
        self._places = [(shard, row) for shard, head in enumerate(heads) for row in range(len(head["clips"]))]
        files = [safe_open(str(path), framework="pt") for path in paths]
        self._slices = [(file.get_slice("video"), file.get_slice("audio")) for file in files]
        self._resident = None if device.type == "cpu" else self._everything(device)

    def _everything(self, device: torch.device) -> Latents:
        video, audio = (torch.cat([slices[stream][:] for slices in self._slices]) for stream in (0, 1))
        return Latents(video.to(device), audio.to(device))

    def read(self, rows: Sequence[int]) -> Latents:
        if self._resident is not None:
            index = torch.tensor(rows, device=self._resident.video.device)
            return self._resident.map(lambda stream: stream.index_select(0, index).float())
        places = [self._places[row] for row in rows]
        return Latents(self._stream(places, 0), self._stream(places, 1))

    def _stream(self, places: Sequence[tuple[int, int]], stream: int) -> Tensor:
        return torch.cat([self._slices[shard][stream][row : row + 1] for shard, row in places]).float()
