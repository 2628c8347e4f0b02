import json
import shutil

import pytest
import torch
from torch import nn

from happyhorse.codecs.audio import AudioCodecConfig
from happyhorse.config import ModelConfig
from happyhorse.errors import WeightsError
from happyhorse.weights.store import (
    load_config,
    load_module,
    read_manifest,
    save_module,
    verified,
    write_manifest,
)


def small() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    module.config = AudioCodecConfig(decoder_width=8)
    module.register_buffer("count", torch.tensor(7))
    return module


@pytest.fixture
def folder(tmp_path):
    save_module(small(), tmp_path / "audio.safetensors", torch.float32)
    write_manifest(tmp_path, "little", {"steps": 3})
    return tmp_path


def test_saved_weights_come_back_exactly_and_matrices_as_bf16(tmp_path):
    module = small()
    save_module(module, tmp_path / "a.safetensors", torch.float32)
    save_module(module, tmp_path / "b.safetensors", torch.bfloat16)
    exact, rounded = small(), small()
    load_module(exact, tmp_path / "a.safetensors")
    load_module(rounded, tmp_path / "b.safetensors")
    for name, tensor in module.state_dict().items():
        assert torch.equal(exact.state_dict()[name], tensor)
        assert rounded.state_dict()[name].dtype == tensor.dtype
        stored = tensor.to(torch.bfloat16).to(tensor.dtype) if tensor.ndim > 1 else tensor
        assert torch.equal(rounded.state_dict()[name], stored)


def test_the_configuration_travels_with_the_weights(folder):
    path = verified(folder, read_manifest(folder), "audio")
    assert load_config(AudioCodecConfig, path) == AudioCodecConfig(decoder_width=8)
    with pytest.raises(WeightsError, match="another version"):
        load_config(ModelConfig, path)


def test_one_flipped_byte_is_found_and_both_hashes_are_named(folder):
    path = folder / "audio.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    manifest = read_manifest(folder)
    expected = manifest.files["audio"]["sha256"][:16]
    with pytest.raises(WeightsError, match=rf"audio\.safetensors is damaged: SHA-256 \w+\.\.\. instead of {expected}"):
        verified(folder, manifest, "audio")


def test_missing_files_are_named(folder):
    manifest = read_manifest(folder)
    (folder / "audio.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"audio\.safetensors is missing"):
        verified(folder, manifest, "audio")
    with pytest.raises(WeightsError, match="no base weights; it has audio"):
        verified(folder, manifest, "base")


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "a"}', '{"name": "a", "files": {}, "colour": 1}', "\xff"])
def test_a_damaged_manifest_is_said(folder, content):
    (folder / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


def test_shapes_and_names_must_fit(folder):
    path = folder / "audio.safetensors"
    wider = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4))
    wider.register_buffer("count", torch.tensor(7))
    with pytest.raises(WeightsError, match=r"has 0\.weight as \[4, 3\] instead of \[4, 5\]"):
        load_module(wider, path)
    with pytest.raises(WeightsError, match=r"lacks 0\.running_mean"):
        load_module(nn.Sequential(nn.BatchNorm1d(4)), path)
    with pytest.raises(WeightsError, match="has the unknown count"):
        load_module(nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), path)


def test_a_file_that_is_no_safetensors(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_module(small(), tmp_path / "a.safetensors")


def test_the_fingerprint_changes_with_any_weight(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(folder, other)
    before = read_manifest(other).fingerprint
    assert before == read_manifest(folder).fingerprint
    save_module(small(), other / "audio.safetensors", torch.bfloat16)
    assert write_manifest(other, "little").fingerprint != before


def test_the_manifest_is_plain_json(folder):
    stored = json.loads((folder / "manifest.json").read_text())
    assert stored["name"] == "little"
    assert stored["files"]["audio"]["bytes"] == (folder / "audio.safetensors").stat().st_size


def test_installed_weights_can_be_read_by_everybody(folder):
    assert (folder / "audio.safetensors").stat().st_mode & 0o044 == 0o044


def test_a_generator_has_a_name_settings_and_a_fingerprint_of_its_own(tiny_model):
    manifest = read_manifest(tiny_model)
    assert manifest.sampling_of("base") == {"steps": 2, "seconds": 0.5}
    assert manifest.sampling_of("distilled")["steps"] == 1 and manifest.sampling_of("distilled")["seconds"] == 0.5
    assert (manifest.name_of("base"), manifest.name_of("distilled")) == ("tiny", "tiny-distilled")
    prints = {manifest.fingerprint, *(manifest.fingerprint_of(role) for role in ("base", "distilled", "superres"))}
    assert len(prints) == 4


def test_weights_that_a_generator_does_not_read_leave_its_fingerprint_alone(tiny_model, tmp_path):
    for role in ("base", "video", "audio"):
        shutil.copy(tiny_model / f"{role}.safetensors", tmp_path)
    alone = write_manifest(tmp_path, "tiny")
    assert alone.fingerprint_of("base") == read_manifest(tiny_model).fingerprint_of("base") == alone.fingerprint


def test_bytes_with_a_scale_for_every_row_are_within_half_a_step(tmp_path):
    model, path = small(), tmp_path / "a.safetensors"
    model.config = AudioCodecConfig()
    with torch.no_grad():
        model[0].weight[1] *= 1000
        model[0].weight[2] = 0
    save_module(model, path, torch.int8)
    other = small()
    load_module(other, path)
    wanted, found = model[0].weight, other[0].weight
    step = wanted.abs().amax(dim=1, keepdim=True) / 127
    assert ((wanted - found).abs() <= 0.5001 * step).all() and torch.equal(found[2], wanted[2])
    assert torch.equal(model[0].bias, other[0].bias)
    with pytest.raises(WeightsError, match=r"has 0\.weight as \[4, 3\] instead of \[4, 5\]"):
        load_module(nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4)), path)


def test_a_head_may_be_on_one_side_only(folder):
    path, wider = folder / "audio.safetensors", nn.Sequential()
    wider.add_module("0", small()[0])
    wider.add_module("1", small()[1])
    wider.register_buffer("count", torch.tensor(7))
    wider.register_buffer("head", torch.tensor(5.0))
    with pytest.raises(WeightsError, match="lacks head"):
        load_module(wider, path)
    load_module(wider, path, optional=("head",))
    assert wider.head == 5
    narrower = small()
    del narrower.count
    with pytest.raises(WeightsError, match="has the unknown count"):
        load_module(narrower, path)
    load_module(narrower, path, optional=("count",))
    assert torch.equal(narrower[0].weight, wider.get_submodule("0").weight)
