"""Public checkpoints, and our own weight files, into the format that a machine has room for.

``happyhorse convert magihuman/base base-fp8 --format fp8``

The result is a folder with ``model.safetensors``, or shards of at most 5 GB and their index; every file carries the
model's configuration and its number format. Tensors are read, converted and written one at a time, so that memory for
a few copies of the largest one is enough. The folder appears when it is complete, or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.errors import OutputError, WeightsError
from happyhorse.files import check_output, output_error
from happyhorse.model.quantised import QuantisedLinear, packed, use_dynamic
from happyhorse.model.transformer import Transformer
from happyhorse.weights.catalogue import models_folder
from happyhorse.weights.formats import blank, check_format, kept_config, public_kind, public_transformer
from happyhorse.weights.store import SCALE, load_config, read_metadata, widened
from happyhorse.weights.stream import (
    DTYPES,
    INDEX,
    SINGLE,
    Checkpoint,
    Described,
    Progress,
    check_fit,
    find_weights,
    open_checkpoint,
    read_index,
    stream_into,
)

SHARD_BYTES = 5 * 10**9
NUMBER_FORMAT = "number_format"
"""Metadata key of a converted file."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_HEADROOM = 64 * 2**20
"""Bytes that a disk should keep beyond the weights."""


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion made."""

    folder: Path
    number_format: str
    files: int
    bytes_before: int
    """Of the tensors that were read."""
    bytes_after: int


# ------------------------------------------------------------------------------------------------------------- convert
def convert(
    source: Path | str,
    target: Path | str,
    number_format: str,
    *,
    kind: str | None = None,
    device: torch.device | str = "cpu",
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Converted:
    """Writes the Transformer ``source`` to the new folder ``target`` in ``number_format`` "bf16", "fp8" or "int8".

    ``source`` is a public checkpoint, of which ``kind`` says which one if its folder's name does not, or one of our own
    weight files. ``device`` does the arithmetic. Matrices are cast to the model's own dtype and then quantised, so the
    numbers are those of quantising the loaded model.

    Raises WeightsError if the source is damaged, is not a Transformer's, or is in eight bits already; OutputError if
    the target exists, cannot be written, or the disk has too little space.
    """
    check_format(number_format)
    place, target, reader = find_device(device), Path(target), Widened(open_checkpoint(source))
    config = kept_config(_config_of(source, kind), number_format)
    _check_fit(reader, config)
    model = blank(config, number_format)
    made = {name: _outputs(model, name) for name in reader.names}
    size = sum(map(_bytes, made.values()))
    _check_target(target, size)
    shards, metadata = _shards(made, shard_bytes), _metadata(config, number_format)
    done, total = 0, sum(reader.describe(name).bytes for name in reader.names)
    with _whole_folder(target) as folder:
        for file, sources in shards.items():
            inside = {name: tensor for source in sources for name, tensor in made[source].items()}
            with written_safetensors(folder / file, inside, metadata) as write:
                for name in sources:
                    write(_converted(model, name, reader.read(name).to(place)))
                    done += reader.describe(name).bytes
                    if progress:
                        progress(done, total)
        if len(shards) > 1:
            places = {name: file for file, sources in shards.items() for source in sources for name in made[source]}
            index = {"metadata": {"total_size": size}, "weight_map": places}
            (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return Converted(target, number_format, len(shards), reader.stored_bytes, size)


def _config_of(source: Path | str, kind: str | None) -> ModelConfig:
    """Of our own files, what they carry; of public ones, what their kind says."""
    first = _first_file(source)
    metadata = read_metadata(first) if first.suffix == ".safetensors" else {}
    kept = metadata.get(NUMBER_FORMAT, "bf16")
    if kept != "bf16":
        raise WeightsError(f"{source} is in {kept} already; convert the weights that it was made of")
    if "config" in metadata:
        return load_config(ModelConfig, first)
    return public_transformer(kind or public_kind(source))


def _first_file(source: Path | str) -> Path:
    path = find_weights(source)
    return next(iter(read_index(path).values()), path) if path.name.endswith(".index.json") else path


def _check_fit(reader: Checkpoint, config: ModelConfig) -> None:
    own = blank(config, "bf16").state_dict()
    stored = {name: reader.describe(name) for name in reader.names}
    check_fit(reader.source, {name: _described(tensor) for name, tensor in own.items()}, stored)


def _metadata(config: ModelConfig, number_format: str) -> dict[str, str]:
    return {"format": "pt", "config": json.dumps(config.to_dict()), NUMBER_FORMAT: number_format}


class Widened:
    """A checkpoint whose tensors are all whole: those of our own files that are kept as bytes become float32."""

    def __init__(self, reader: Checkpoint) -> None:
        self.source, self._reader = reader.source, reader
        scales = {name + SCALE for name in reader.names} & set(reader.names)
        self._scaled = {name.removesuffix(SCALE) for name in scales}
        self.names = tuple(name for name in reader.names if name not in scales)
        self.stored_bytes = sum(reader.describe(name).bytes for name in reader.names)

    def describe(self, name: str) -> Described:
        stored = self._reader.describe(name)
        return dataclasses.replace(stored, dtype=torch.float32) if name in self._scaled else stored

    def read(self, name: str) -> Tensor:
        stored = self._reader.read(name)
        return widened(stored, self._reader.read(name + SCALE)) if name in self._scaled else stored


# ------------------------------------------------------------------------------------------------- from one to another
def _outputs(model: Transformer, name: str) -> dict[str, Described]:
    """What one tensor of the source becomes in a file."""
    owner, leaf, prefix = _owner(model, name)
    leaves = ("weight", "scale") if isinstance(owner, QuantisedLinear) else (leaf,)
    return {prefix + leaf: _described(getattr(owner, leaf)) for leaf in leaves}


def _converted(model: Transformer, name: str, numbers: Tensor) -> dict[str, Tensor]:
    owner, leaf, prefix = _owner(model, name)
    if not isinstance(owner, QuantisedLinear):
        return {name: numbers.to(getattr(owner, leaf).dtype)}
    numbers = numbers.to(getattr(torch, model.config.weight_dtype))
    weight, scale = packed(numbers.reshape(owner.copies, owner.outputs, owner.inputs), owner.kind)
    if not bool(scale.isfinite().all()):
        raise WeightsError(f"{name} holds numbers that are not finite; fetch the weights again")
    return {f"{prefix}weight": weight, f"{prefix}scale": scale}


def _owner(model: Transformer, name: str) -> tuple[nn.Module, str, str]:
    """The module that has a tensor, the tensor's name in it, and what stands before that."""
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf, f"{path}."


def _described(tensor: Tensor) -> Described:
    return Described(tuple(tensor.shape), tensor.dtype)


def _bytes(tensors: Mapping[str, Described]) -> int:
    return sum(tensor.bytes for tensor in tensors.values())


# ---------------------------------------------------------------------------------------------------------- into files
def _shards(made: Mapping[str, Mapping[str, Described]], limit: int) -> dict[str, list[str]]:
    """File names to the source tensors whose outputs they hold; a tensor that is larger than the limit has its own."""
    parts, filled = list[list[str]](), limit
    for name, tensors in made.items():
        if not parts or filled + _bytes(tensors) > limit:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += _bytes(tensors)
    if len(parts) == 1:
        return {SINGLE: parts[0]}
    return {f"model-{number:05}-of-{len(parts):05}.safetensors": part for number, part in enumerate(parts, 1)}


def _check_target(target: Path, size: int) -> None:
    if os.path.lexists(target):
        raise OutputError(f"{target} exists; choose another name, or remove it first")
    check_output(target)
    free = shutil.disk_usage(target.parent).free
    if free < size + _HEADROOM:
        raise OutputError(
            f"{target} needs {size / 1e9:.1f} GB, and {target.parent.resolve()} has {free / 1e9:.1f} GB free; "
            "free some space or choose another disk"
        )


@contextlib.contextmanager
def _whole_folder(target: Path) -> Iterator[Path]:
    """Yields a temporary folder that becomes ``target`` only if the block ends well, else it is removed."""
    temporary = target.with_name(f".{target.name[:40]}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        yield temporary
        os.rename(temporary, target)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def written_safetensors(
    path: Path, tensors: Mapping[str, Described], metadata: Mapping[str, str]
) -> Iterator[Callable[[Mapping[str, Tensor]], None]]:
    """Yields a function that puts tensors into a safetensors file, in any order, without holding the others.

    The format is a length (8 bytes, little-endian), a JSON header of names, dtypes, shapes and offsets, and the
    numbers. Wide numbers come first, so that each tensor begins at a multiple of its number's size.
    """
    offsets, end, header = dict[str, int](), 0, dict[str, dict]({"__metadata__": dict(metadata)})
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        place = [end, end + tensor.bytes]
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        offsets[name], end = place
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)

        def write(some: Mapping[str, Tensor]) -> None:
            for name, tensor in some.items():
                assert _described(tensor) == tensors[name], f"{name} is not what the header says"
                file.seek(8 + len(text) + offsets[name])
                file.write(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)

        yield write


# --------------------------------------------------------------------------------------------------------------- open
def converted_folder(name: str, number_format: str) -> Path:
    """Where a converted copy of a public model's Transformer lies."""
    return models_folder() / f"{name}-{number_format}"


def open_converted(folder: Path | str) -> tuple[ModelConfig, str]:
    """Configuration and number format of a converted model. Raises WeightsError if ``folder`` is none."""
    first = _first_file(folder)
    metadata = read_metadata(first) if first.suffix == ".safetensors" else {}
    if NUMBER_FORMAT not in metadata:
        raise WeightsError(f"{folder} is not a converted model; happyhorse convert makes one")
    check_format(metadata[NUMBER_FORMAT])
    return load_config(ModelConfig, first), metadata[NUMBER_FORMAT]


def load_converted(
    folder: Path | str, device: torch.device | str = "cpu", dynamic: bool = False, progress: Progress | None = None
) -> Transformer:
    """A converted model on ``device``, streamed there; with ``dynamic``, all but its outer layers quantise their
    activations too. Raises WeightsError if the folder is none or damaged, ConfigError if bf16 should be dynamic."""
    config, number_format = open_converted(folder)
    model = blank(config, number_format)
    if dynamic:
        use_dynamic(model)
    stream_into(model, folder, device=device, progress=progress)
    return model.eval()
