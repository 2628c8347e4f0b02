"""The 15.3 B geometry on a machine that has no room for it.

``python benchmarks/true_width.py [--folder DIR]``

1. A slice of two layers at the true width (5,120), one of each kind, random weights, against the plain formula written
   out below, row by row and head by head.
2. A checkpoint of the true shapes, 30.6 GB in seven files (with holes, so that they take no disk; their numbers are
   zeros), of which a pass reads layer by layer from disk: seconds, and the most memory that was not the system's cache
   of files.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import threading
import time
from pathlib import Path

import torch
from torch import Tensor

from happyhorse.config import ModelConfig, magihuman_15b
from happyhorse.memory.files import file_layers
from happyhorse.memory.needs import ROWS
from happyhorse.memory.rows import chunk_rows, plain_name
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.published import PublishedShape, draw_noise
from happyhorse.types import Latents, Text
from happyhorse.weights.formats import blank
from happyhorse.weights.stream import INDEX, open_checkpoint, stream_into

SHAPE = PublishedShape(1, 64, 64)
WORDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="where the files with holes go")
    asked = parser.parse_args()
    with torch.inference_mode():
        slice_of_two_layers()
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            whole_from_disk(Path(folder))


def inputs(config: ModelConfig) -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(1, WORDS, config.text_channels, generator=generator)
    return draw_noise(SHAPE, generator), Text(words, torch.tensor([WORDS]))


# ------------------------------------------------------------------------------------------------------------ the slice
def slice_of_two_layers() -> None:
    config = magihuman_15b(
        specific_first=1, shared=1, specific_last=0, gelu7_layers=(0,), matmul_dtype="float32", weight_dtype="float32"
    )
    torch.manual_seed(0)
    model = Transformer(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.normal_(std=0.1)
    latents, text = inputs(config)
    began = time.perf_counter()
    layout = model.layout(latents, text)
    rows = [model.adapter.video_rows(latents.video, None), model.adapter.audio_rows(latents.audio, None)]
    hidden = torch.cat([*rows, model.adapter.text_rows(text.values)], dim=1)
    found = model.block(hidden, layout)[0]
    seconds = time.perf_counter() - began
    expected, angle = hidden[0], (layout.cos[0, :, 0], layout.sin[0, :, 0])
    kinds = torch.cat([torch.full((count,), kind) for kind, count in layout.spans])
    state = model.state_dict()
    for index, copies in ((0, 3), (1, 1)):
        weights = {
            name.removeprefix(f"block.layers.{index}."): value.view(copies, -1, *value.shape[1:])
            for name, value in state.items()
            if name.startswith(f"block.layers.{index}.")
        }
        expected = plain_layer(expected, weights, kinds if copies == 3 else torch.zeros_like(kinds), angle, index == 0)
    error = (found - expected).abs().max() / expected.abs().max()
    print(f"two layers at width {config.hidden}, {len(expected)} rows: {seconds:.1f} s, largest error {error:.1e}")
    assert error < 1e-4


def plain_layer(h: Tensor, w: dict[str, Tensor], kinds: Tensor, angle: tuple[Tensor, Tensor], gelu: bool) -> Tensor:
    """A layer as its formula says, rows [N, 5120], for weights [copies, ...] of which row n takes ``kinds[n]``."""
    a = rms(h, w["attention.pre_norm.weight"][kinds])
    projected = torch.stack([w["attention.linear_qkv.weight"][kind] @ row for kind, row in zip(kinds, a, strict=True)])
    q, k, v, gate = projected.split([5120, 1024, 1024, 40], dim=1)
    q = [turn(rms(part, w["attention.q_norm.weight"][kinds]), *angle) for part in q.split(128, dim=1)]
    k = [turn(rms(part, w["attention.k_norm.weight"][kinds]), *angle) for part in k.split(128, dim=1)]
    heads = []
    for head in range(40):
        scores = q[head] @ k[head // 5].T / math.sqrt(128)
        mixed = scores.softmax(dim=1) @ v.split(128, dim=1)[head // 5]
        heads.append(mixed * torch.sigmoid(gate[:, head : head + 1]))
    mixed = torch.cat(heads, dim=1)
    h = h + torch.stack([w["attention.linear_proj.weight"][kind] @ row for kind, row in zip(kinds, mixed, strict=True)])
    a = rms(h, w["mlp.pre_norm.weight"][kinds])
    up = torch.stack([w["mlp.up_gate_proj.weight"][kind] @ row for kind, row in zip(kinds, a, strict=True)])
    inner = capped(up) if gelu else capped(up[:, 0::2]) * (up[:, 1::2].clamp(-7, 7) + 1)
    return h + torch.stack([w["mlp.down_proj.weight"][kind] @ row for kind, row in zip(kinds, inner, strict=True)])


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-6).sqrt() * (1 + weight)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x[:, :48], x[:, 48:96]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, x[:, 96:]], dim=1)


def capped(x: Tensor) -> Tensor:
    return x.clamp(max=7) * torch.sigmoid(1.702 * x.clamp(max=7))


# ------------------------------------------------------------------------------------------------------------ the whole
def whole_from_disk(folder: Path) -> None:
    config = magihuman_15b()
    size = write_shards(folder, blank(config, "bf16"))
    model, reader = blank(config, "bf16"), open_checkpoint(folder)
    with Anonymous() as memory:
        began = time.perf_counter()
        chunk_rows(model.block.layers, ROWS)
        file_layers(
            model.block.layers, lambda i, name: f"block.layers.{i}.{plain_name(name)}", reader.read, torch.device("cpu")
        )
        stream_into(model, folder, device="cpu", names=lambda name: None if name.startswith("block.layers.") else name)
        ready = time.perf_counter() - began
        model.eval()(*inputs(config))
    print(
        f"{size / 1e9:.1f} GB, 40 layers: ready in {ready:.1f} s, a pass over {SHAPE.tokens + WORDS} "
        f"rows in {time.perf_counter() - began - ready:.1f} s, at most {memory.peak / 2**30:.2f} GiB of memory"
    )
    assert memory.peak < 3 * 2**30


def write_shards(folder: Path, model: Transformer, limit: int = 5 * 10**9) -> int:
    """Files of at most ``limit`` bytes and their index; returns the bytes of all tensors."""
    shards, room = [{}], limit
    for name, tensor in model.state_dict().items():
        if tensor.nbytes > room:
            shards.append({})
            room = limit
        shards[-1][name] = tensor
        room -= tensor.nbytes
    places = {}
    for number, tensors in enumerate(shards):
        file = f"model-{number:05}.safetensors"
        write_with_holes(folder / file, tensors)
        places |= dict.fromkeys(tensors, file)
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def write_with_holes(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file of these names, shapes and dtypes whose numbers are all zero."""
    kinds = {torch.float32: "F32", torch.bfloat16: "BF16"}
    head, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        head[name] = {"dtype": kinds[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)


class Anonymous:
    """Watches how much memory of this process is not the cache of files; ``peak`` is the most above the beginning."""

    def __enter__(self) -> Anonymous:
        self.first, self.peak, self._done = self._now(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now() - self.first)

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


if __name__ == "__main__":
    main()
