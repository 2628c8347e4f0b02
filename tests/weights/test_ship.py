"""Shipping: files land under their roles with fresh hashes, and nothing else changes."""

import json

import pytest
import torch
from torch import nn

from happyhorse.codecs.audio import AudioCodecConfig
from happyhorse.errors import WeightsError
from happyhorse.weights.ship import ship
from happyhorse.weights.store import MANIFEST, load_module, read_manifest, save_module, verified, write_manifest


class Small(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.config = AudioCodecConfig()
        self.weight = nn.Parameter(torch.full((2, 2), float(value)))


def test_new_weights_replace_old_ones_and_sampling_stays(tmp_path):
    folder, run = tmp_path / "foal", tmp_path / "run"
    folder.mkdir()
    run.mkdir()
    save_module(Small(1), folder / "base.safetensors")
    generators, superres = {"distilled": {"steps": 8}, "base": {}}, {"steps": 5}
    write_manifest(folder, "foal", {"steps": 30}, generators=generators, superres=superres)
    old = read_manifest(folder).fingerprint
    save_module(Small(2), run / "base.safetensors")
    save_module(Small(3), run / "audio.safetensors")
    ship(folder, [run / "base.safetensors", run / "audio.safetensors"], "foal")
    manifest = read_manifest(folder)
    assert (manifest.generators, manifest.superres) == (generators, superres)
    assert list(manifest.generators) == ["distilled", "base"]
    assert manifest.sampling == {"steps": 30} and manifest.fingerprint != old
    assert set(manifest.files) == {"base", "audio"}
    assert verified(folder, manifest, "audio").read_bytes() == (run / "audio.safetensors").read_bytes()


def test_a_file_that_is_no_weight_file_is_refused_before_anything_is_copied(tmp_path):
    bad = tmp_path / "base.safetensors"
    bad.write_text(json.dumps("not weights"))
    with pytest.raises(WeightsError, match=r"base\.safetensors"):
        ship(tmp_path / "foal", [bad], "foal")
    assert not (tmp_path / "foal" / MANIFEST).exists()


def test_in_eight_bits_weights_are_smaller_and_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    module, again = Small(0), Small(0)
    module.weight = nn.Parameter(torch.randn(64, 64))
    again.weight = nn.Parameter(torch.zeros(64, 64))
    save_module(module, tmp_path / "base.safetensors")
    manifest = ship(tmp_path / "foal", [tmp_path / "base.safetensors"], "foal", eight_bits=True)
    path = verified(tmp_path / "foal", manifest, "base")
    load_module(again, path)
    assert path.stat().st_size < 0.7 * (tmp_path / "base.safetensors").stat().st_size
    step = module.weight.abs().amax(dim=1, keepdim=True) / 127
    assert ((again.weight - module.weight).abs() < 0.55 * step + 0.01 * module.weight.abs()).all()
    assert not torch.equal(again.weight, module.weight)
