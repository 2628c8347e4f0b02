"""Checkpoints into modules, one tensor at a time: the model is never in memory twice.

A module built under ``torch.device("meta")`` has shapes and dtypes but no numbers. ``stream_into`` reads each tensor of
a checkpoint, casts it to the module's dtype, moves it to the device and puts it into its place, before the next is
read. So a checkpoint of 57 GiB in float32 fills a module of 29 GiB on a GPU with a few GiB of host memory.

A checkpoint is a safetensors file, a folder of them with their index, or a torch file of plain tensors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from happyhorse.device import find_device
from happyhorse.errors import WeightsError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Dtypes by their names in safetensors files."""
_CASTABLE = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
"""Dtypes that stand for the same numbers; those of one byte mean nothing without their scales."""

Value = TypeVar("Value")
Lookup = Mapping[str, Value] | Callable[[str], Value | None]
"""A mapping, or a function; None for a name that it does not know."""
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclasses.dataclass(frozen=True)
class Described:
    """A tensor without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


# ------------------------------------------------------------------------------------------------------ into a module
def stream_into(
    module: nn.Module,
    source: Path | str,
    *,
    device: torch.device | str,
    names: Lookup[str] | None = None,
    dtypes: Lookup[torch.dtype] | None = None,
    progress: Progress | None = None,
) -> None:
    """Fills ``module`` with the tensors of the checkpoint ``source``, on ``device``.

    ``names`` gives the module's name of a stored tensor; stored tensors without one are left out, and shards that hold
    no others need not be there. ``dtypes`` gives the dtype of a tensor by the module's name, in place of the module's
    own. Only float64, float32, float16 and bfloat16 are cast to each other.

    Raises WeightsError if a file is missing or damaged, if names or shapes are not exactly the module's (before any
    number is read), and if the device has too little memory.
    """
    reader, place = open_checkpoint(source), find_device(device)
    targets = _renamed(reader, names)
    stored = {target: reader.describe(name) for name, target in targets.items()}
    own = {name: Described(tuple(tensor.shape), tensor.dtype) for name, tensor in module.state_dict().items()}
    check_fit(source, own, stored)
    done, total = 0, sum(tensor.bytes for tensor in stored.values())
    for name, target in targets.items():
        dtype = _look_up(dtypes, target) or own[target].dtype
        try:
            _put(module, target, _moved(reader.read(name), dtype, place))
        except torch.OutOfMemoryError as error:
            raise WeightsError(
                f"{place} has too little memory for {source}, which holds {total / 1e9:.1f} GB; "
                "free some, choose another device, or convert the weights to fp8 or int8 (happyhorse convert)"
            ) from error
        done += stored[target].bytes
        if progress:
            progress(done, total)
    _settle(module, place)


def _renamed(reader: Checkpoint, names: Lookup[str] | None) -> dict[str, str]:
    """Stored names to the module's, in the order of the files."""
    if names is None:
        return {name: name for name in reader.names}
    found = {name: target for name in reader.names if (target := _look_up(names, name)) is not None}
    owners = dict[str, str]()
    for name, target in found.items():
        if target in owners:
            raise WeightsError(f"{reader.source} holds {target} twice, as {owners[target]} and as {name}")
        owners[target] = name
    return found


def _look_up(table: Lookup[Value] | None, name: str) -> Value | None:
    if table is None:
        return None
    return table.get(name) if isinstance(table, Mapping) else table(name)


def _moved(stored: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of its own on ``device``. On the CPU too: one that stayed part of the file would change with it."""
    return stored.to(dtype, copy=device.type == "cpu").contiguous().to(device)


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    module.get_submodule(owner).load_state_dict({leaf: tensor}, strict=False, assign=True)


def _settle(module: nn.Module, device: torch.device) -> None:
    """Moves what the module had already, such as tables outside its state."""
    everything = itertools.chain(module.named_parameters(), module.named_buffers())
    empty = [name for name, tensor in everything if tensor.is_meta]
    assert not empty, f"{', '.join(empty[:3])} must have numbers before: no checkpoint holds tensors outside the state"
    module.to(device)


# -------------------------------------------------------------------------------------------------------- does it fit
def check_fit(source: Path | str, own: Mapping[str, Described], stored: Mapping[str, Described]) -> None:
    """Raises WeightsError, naming up to three of each kind of misfit, unless ``stored`` can fill ``own``."""
    shapes = {name: _misfit(own[name], stored[name]) for name in own if name in stored}
    problems = (
        ("lacks {} tensor{}", [name for name in own if name not in stored]),
        ("holds {} unknown tensor{}", [name for name in stored if name not in own]),
        ("holds {} tensor{} of another shape or kind", [f"{name} {text}" for name, text in shapes.items() if text]),
    )
    parts = [f"{text.format(len(names), 's'[: len(names) > 1])} ({_some(names)})" for text, names in problems if names]
    if parts:
        raise WeightsError(f"{source} does not fit its model: it {'; it '.join(parts)}")


def _misfit(own: Described, stored: Described) -> str:
    if own.shape != stored.shape:
        return f"is {list(stored.shape)} instead of {list(own.shape)}"
    if own.dtype != stored.dtype and not (own.dtype in _CASTABLE and stored.dtype in _CASTABLE):
        return f"is {stored.dtype} instead of {own.dtype}"
    return ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


# --------------------------------------------------------------------------------------------------------- from files
class Checkpoint(Protocol):
    """Tensors in files, to be read one at a time."""

    source: Path
    names: tuple[str, ...]
    """In the order in which they are best read."""

    def describe(self, name: str) -> Described:
        """Shape and dtype, without reading the numbers."""
        ...

    def read(self, name: str) -> Tensor:
        """The tensor, on the CPU; it may be a part of the mapped file."""
        ...


def open_checkpoint(source: Path | str) -> Checkpoint:
    """A safetensors file, a folder with ``model.safetensors`` or its index and shards, or a torch file of tensors.

    Raises WeightsError if there is none, or if it is damaged.
    """
    path = find_weights(source)
    if path.name.endswith(".index.json"):
        return SafetensorsFiles(path, read_index(path))
    if path.suffix != ".safetensors":
        return TorchFile(path)
    with _opened(path) as file:
        return SafetensorsFiles(path, dict.fromkeys(file.keys(), path))


def find_weights(source: Path | str) -> Path:
    """The file to begin with: ``source`` itself or, in a folder, the index or the single file."""
    source = Path(source)
    candidates = (source / INDEX, source / SINGLE) if source.is_dir() else (source,)
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        what = f"holds neither {INDEX} nor {SINGLE}" if source.is_dir() else "does not exist"
        raise WeightsError(f"no checkpoint at {source}: it {what}; give a folder of weights or a weight file")
    return found


def read_index(path: Path) -> dict[str, Path]:
    """Names of tensors to the shards beside the index that hold them, shard by shard."""
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        pairs = sorted(((file, name) for name, file in places.items()), key=lambda pair: pair[0])
        if strangers := [file for file, _ in pairs if file != Path(file).name]:
            raise ValueError(f"{strangers[0]} is not beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not an index of weight files ({error}); fetch it again") from error
    return {name: path.parent / file for file, name in pairs}


class SafetensorsFiles:
    """Tensors in one or several safetensors files, of which one is open at a time."""

    def __init__(self, source: Path, files: Mapping[str, Path]) -> None:
        self.source, self.names = source, tuple(files)
        self._files, self._stack = files, contextlib.ExitStack()
        self._path: Path | None = None
        self._file: Any = None

    def describe(self, name: str) -> Described:
        with self._reading(name) as file:
            part = file.get_slice(name)
            kind = part.get_dtype()
            if kind not in DTYPES:
                raise WeightsError(f"{self._files[name]} holds {name} as {kind}, which cannot be read here")
            return Described(tuple(part.get_shape()), DTYPES[kind])

    def read(self, name: str) -> Tensor:
        with self._reading(name) as file:
            return file.get_tensor(name)

    @contextlib.contextmanager
    def _reading(self, name: str) -> Any:
        path = self._files[name]
        if path != self._path:
            self._stack.close()
            self._path, self._file = None, self._stack.enter_context(_opened(path))
            self._path = path
        try:
            yield self._file
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"{path} holds no readable {name} ({error}); fetch the file again") from error


@contextlib.contextmanager
def _opened(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError(f"{path} is missing, though the index names it; fetch it again")
    try:
        file = safe_open(str(path), framework="pt")
    except RuntimeError as error:  # torch maps a file privately, which the system counts as memory
        raise WeightsError(
            f"{path} cannot be mapped ({str(error).splitlines()[0]}); it is larger than this machine's memory: "
            "use weights in several files"
        ) from error
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged or not a safetensors file ({error}); fetch it again") from error
    with file as opened:
        yield opened


class TorchFile:
    """Tensors of a file by ``torch.save``; those in a dictionary inside have its name and a dot before theirs.

    Nothing but tensors and plain values is unpickled. The file is mapped, so numbers are read when they are used
    (files from before torch 1.6 cannot be: they are read as a whole).
    """

    def __init__(self, source: Path) -> None:
        try:
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise WeightsError(f"{source} is damaged or not a torch file of plain tensors ({reason})") from error
        self._tensors = _flat(content) if isinstance(content, Mapping) else {}
        if not self._tensors:
            raise WeightsError(f"{source} holds no tensors by name")
        self.source, self.names = source, tuple(self._tensors)

    def describe(self, name: str) -> Described:
        return Described(tuple(self._tensors[name].shape), self._tensors[name].dtype)

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


def _flat(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    found = dict[str, Tensor]()
    for key, value in content.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value.detach()
        elif isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
    return found
