"""Reads golden cases: numbers that the published models' own code has computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer

HERE = Path(__file__).parent


class Case(dict[str, Tensor]):
    """Tensors of one golden case; a name that ends in "::n" holds every n-th number of its tensor."""

    def __init__(self, name: str, settings: dict, tensors: dict[str, Tensor]) -> None:
        super().__init__(tensors)
        self.name, self.settings = name, settings

    def holds(self, key: str) -> bool:
        return any(own.split("::")[0] == key for own in self)

    def error(self, key: str, value: Tensor) -> float:
        """Largest absolute error of ``value`` against tensor ``key``, relative to max(1, max|reference|)."""
        value, reference = self._pair(key, value)
        return float((value - reference).abs().max() / reference.abs().max().clamp(min=1))

    def relative_l2(self, key: str, value: Tensor) -> float:
        value, reference = self._pair(key, value)
        return float((value - reference).norm() / reference.norm())

    def _pair(self, key: str, value: Tensor) -> tuple[Tensor, Tensor]:
        own = next(own for own in self if own.split("::")[0] == key)
        reference, value = self[own].double(), value.detach().double()
        if "::" in own:
            value = value.flatten()[:: int(own.split("::")[1])]
        assert value.shape == reference.shape, f"{key}: {tuple(value.shape)} against {tuple(reference.shape)}"
        return value, reference


class GoldenSet:
    """The small set beside this file (see shrink.py), or the full one that it was made from, in ``folder``."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        if folder is None:
            description = json.loads((HERE / "small.json").read_text())
            self.settings, self.index = description["cases"], description["index"]
            self.archive = np.load(HERE / "small.npz")
        else:
            manifest = json.loads((folder / "manifest.json").read_text())
            dit = {f"dit_{name}": case for name, case in manifest["dit_cases"].items()}
            self.settings = {**dit, **manifest["other_files"]}

    def __call__(self, name: str) -> Case:
        settings = self.settings.get(name, {})
        if self.folder is not None:
            return Case(name, settings, load_file(self.folder / f"{name}.safetensors"))
        keys = [key for key in self.index if key.startswith(f"{name}/")]
        return Case(name, settings, {key.split("/", 1)[1]: self._tensor(key) for key in keys})

    def published(self, case: Case, **changes: Any) -> Transformer:
        """A tiny model of the published design: the geometry of a case, and the golden weights."""
        settings, weights = case.settings["config"], self("dit_weights")
        config = ModelConfig(
            hidden=settings["hidden_size"],
            head_dim=settings["head_dim"],
            query_heads=settings["num_heads_q"],
            kv_heads=settings["num_heads_kv"],
            specific_first=1,
            shared=4,
            specific_last=1,
            gelu7_layers=tuple(settings["gelu7_layers"]),
            text="features",
            text_channels=weights["adapter.text_embedder.weight"].shape[1],
            coordinates=settings["coords_style"],
            local_layers=tuple(settings["local_attn_layers"]),
            receptive_field=settings["frame_receptive_field"],
            weight_dtype="bfloat16",
        )
        model = Transformer(config.replace(**changes))
        model.load_state_dict(weights)
        return model.eval()

    def _tensor(self, key: str) -> Tensor:
        dtype, shape = self.index[key]
        planes = np.ascontiguousarray(self.archive[key].T)
        return torch.from_numpy(planes.reshape(-1)).view(getattr(torch, dtype)).view(shape)
