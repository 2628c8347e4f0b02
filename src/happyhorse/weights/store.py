"""Weights in and out of safetensors files, every byte checked against the model folder's manifest.

A model is a folder: ``manifest.json`` beside ``base.safetensors``, ``video.safetensors``, ... (one file per role). Each
weight file carries the configuration of its module as JSON in its metadata, so that a folder needs nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from happyhorse.config import Config
from happyhorse.errors import ConfigError, WeightsError
from happyhorse.files import whole_file

MANIFEST = "manifest.json"
SCALE = ".scale"
"""Ends the name of the scales of a tensor that is kept as int8."""
_REPAIR = "reinstall happyhorse, or copy the file again"


@dataclasses.dataclass(frozen=True)
class Manifest(Config):
    """What a model folder holds and how the model likes to be asked."""

    name: str
    """The model's name, as in recipes."""
    files: dict[str, dict[str, Any]]
    """Role (base, video, audio) to {"file", "sha256", "bytes"}."""
    sampling: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of sampling.request.Sampling: steps, shift, guidance, sizes and limits that suit this model."""
    generators: dict[str, dict[str, Any]] = dataclasses.field(default_factory=lambda: {"base": {}})
    """Roles of the weights that make clips, each with the fields of ``sampling`` in which it differs. The first one is
    meant by the model's name."""
    superres: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of sampling.superres.Enlarging, if there are weights of that role."""
    card: str = ""
    """File name of the model card."""

    @property
    def fingerprint(self) -> str:
        """One hash for all weights: the first 16 hex digits of the SHA-256 of the files' hashes, by role."""
        return self._hash(self.files)

    def fingerprint_of(self, generator: str) -> str:
        """One hash for a generator and the codecs that it works with."""
        return self._hash(role for role in (generator, "video", "audio") if role in self.files)

    def sampling_of(self, generator: str) -> dict[str, Any]:
        """How a generator likes to be asked."""
        return {**self.sampling, **self.generators[generator]}

    def name_of(self, generator: str) -> str:
        """What a generator is called: "foal", or "foal-base" if it is not the one that the model's name means."""
        return self.name if generator == next(iter(self.generators)) else f"{self.name}-{generator}"

    def _hash(self, roles: Iterable[str]) -> str:
        hashes = "".join(self.files[role]["sha256"] for role in sorted(roles))
        return hashlib.sha256(hashes.encode()).hexdigest()[:16]


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a model folder. Raises WeightsError if it is missing or not one."""
    path = Path(folder) / MANIFEST
    try:
        return Manifest.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise WeightsError(f"{folder} is not a model folder: {MANIFEST} is missing or not readable") from error
    except (ValueError, TypeError, AttributeError) as error:  # ValueError: damaged JSON, bad UTF-8, unknown keys
        raise WeightsError(f"{path} is damaged ({error}); {_REPAIR}") from error


def write_manifest(
    folder: Path | str,
    name: str,
    sampling: Mapping[str, Any] | None = None,
    card: str = "",
    roles: tuple[str, ...] = (),
    generators: Mapping[str, dict[str, Any]] | None = None,
    superres: Mapping[str, Any] | None = None,
) -> Manifest:
    """Hashes the weight files of ``folder`` (all ``*.safetensors``, or those of ``roles``) and writes its manifest."""
    folder = Path(folder)
    paths = [folder / f"{role}.safetensors" for role in roles] or sorted(folder.glob("*.safetensors"))
    files = {p.stem: {"file": p.name, "sha256": file_hash(p), "bytes": p.stat().st_size} for p in paths}
    manifest = Manifest(name, files, dict(sampling or {}), dict(generators or {"base": {}}), dict(superres or {}), card)
    with whole_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest.to_dict(), indent=2) + "\n", encoding="utf-8")
    return manifest


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified(folder: Path | str, manifest: Manifest, role: str) -> Path:
    """The weight file of a role, after its hash was compared. Raises WeightsError naming the file and both hashes."""
    if role not in manifest.files:
        raise WeightsError(f"model {manifest.name} has no {role} weights; it has {', '.join(sorted(manifest.files))}")
    entry = manifest.files[role]
    path = Path(folder) / entry["file"]
    try:
        actual = file_hash(path)
    except OSError as error:
        raise WeightsError(f"the weight file {path} is missing or not readable; {_REPAIR}") from error
    if actual != entry["sha256"]:
        raise WeightsError(
            f"the weight file {path} is damaged: "
            f"SHA-256 {actual[:16]}... instead of {entry['sha256'][:16]}...; {_REPAIR}"
        )
    return path


def read_metadata(path: Path | str) -> dict[str, str]:
    """The metadata of a safetensors file. Raises WeightsError if it is not one."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}); {_REPAIR}") from error


def read_config(path: Path | str) -> dict[str, Any]:
    """The module configuration kept in a weight file. Raises WeightsError if there is none."""
    try:
        return json.loads(read_metadata(path)["config"])
    except (KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path} holds no configuration (metadata key 'config'); write it with save_module"
        ) from error


def load_module(
    module: nn.Module, path: Path | str, device: torch.device | str = "cpu", optional: Sequence[str] = ()
) -> None:
    """Copies the tensors of a safetensors file into ``module``, cast to the module's own dtypes (bf16 to fp32).

    Raises WeightsError unless names and shapes are exactly the module's. ``optional`` ones may be missing in the file,
    and stay as they are, or in the module, and are not read.
    """
    own = module.state_dict()
    try:
        with safe_open(str(path), framework="pt", device=str(device)) as file:
            names = set(file.keys())
            own = {name: tensor for name, tensor in own.items() if name in names or name not in optional}
            values = {
                name for name in names if name.removesuffix(SCALE) == name or name.removesuffix(SCALE) not in names
            }
            values = {name for name in values if name in own or name not in optional}
            _compare(path, own, {name: tuple(file.get_slice(name).get_shape()) for name in sorted(values)})
            with torch.no_grad():
                for name, tensor in own.items():
                    stored = file.get_tensor(name)
                    tensor.copy_(widened(stored, file.get_tensor(name + SCALE)) if name + SCALE in names else stored)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}); {_REPAIR}") from error


def _compare(path: Path | str, own: Mapping[str, torch.Tensor], stored: Mapping[str, tuple[int, ...]]) -> None:
    problems = [f"lacks {name}" for name in own if name not in stored]
    problems += [f"has the unknown {name}" for name in stored if name not in own]
    problems += [
        f"has {name} as {list(stored[name])} instead of {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in stored and stored[name] != tuple(tensor.shape)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(f"{path} does not fit its model: it {', '.join(problems[:3])}{more}")


def save_module(
    module: nn.Module,
    path: Path | str,
    dtype: torch.dtype = torch.bfloat16,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes the tensors of ``module`` (floating point as ``dtype``) and its configuration, whole or not at all.

    With torch.int8, matrices are kept as bytes with a scale for every row. ``module.config`` must be a Config: it goes
    into the metadata, so that the file alone rebuilds the module.
    """
    config = module.config
    assert isinstance(config, Config), f"{type(module).__name__} has no configuration"
    tensors = {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}
    _save(path, tensors, dtype, {"config": json.dumps(config.to_dict()), **(metadata or {})})


def save_in_eight_bits(source: Path | str, path: Path | str) -> None:
    """Writes a weight file again with its matrices as bytes, for the places where size counts.

    Raises WeightsError if ``source`` is no weight file.
    """
    read_config(source)
    with safe_open(str(source), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    _save(path, tensors, torch.int8, read_metadata(source))


def _save(path: Path | str, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, head: dict[str, str]) -> None:
    stored = dict[str, torch.Tensor]()
    for name, tensor in tensors.items():
        stored |= _stored(name, tensor, dtype)
    with whole_file(path) as temporary:
        # save_file lets only the file's owner read it, and says of a full disk that it cannot serialise.
        temporary.write_bytes(save(stored, head))


def _stored(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Matrices as ``dtype``; vectors (norms, scales, rotary bands) are small and keep their precision."""
    if not (tensor.is_floating_point() and tensor.ndim > 1):
        return {name: tensor.contiguous().clone()}
    if dtype == torch.int8:
        narrow, scale = narrowed(tensor)
        return {name: narrow, name + SCALE: scale}
    return {name: tensor.to(dtype).contiguous().clone()}


def narrowed(tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A tensor [rows, ...] as int8 with a scale [rows] float32; each row's largest value becomes 127."""
    rows = tensor.float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape).contiguous(), scale


def widened(narrow: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Inverse of ``narrowed``, float32, within half a step of each row's scale."""
    return (narrow.float().flatten(1) * scale[:, None]).view(narrow.shape)


def load_config(kind: type[Config], path: Path | str) -> Any:
    """The configuration in a weight file as ``kind``. Raises WeightsError if its fields are not those of ``kind``."""
    try:
        return kind.from_dict(read_config(path))
    except ConfigError as error:
        raise WeightsError(f"{path} was written for another version: {error}") from error
