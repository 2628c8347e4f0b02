import json
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, OutputError, WeightsError
from happyhorse.model.quantised import KINDS, QuantisedLinear, quantise
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text
from happyhorse.weights import convert as converting
from happyhorse.weights.convert import convert, load_converted, open_converted, written_safetensors
from happyhorse.weights.formats import FORMATS
from happyhorse.weights.store import load_module, read_metadata, save_module
from happyhorse.weights.stream import Described, stream_into

TINY = ModelConfig(
    hidden=24, head_dim=8, query_heads=3, kv_heads=1, shared=1, text="features", text_channels=20, coordinates="v2"
).replace(matmul_dtype="bfloat16", weight_dtype="bfloat16")
ALL_FORMATS = pytest.mark.parametrize("number_format", FORMATS)


def random_model(config: ModelConfig = TINY) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@pytest.fixture
def public(tmp_path, monkeypatch):
    """A folder like the public ones: two shards in float32, with an index, of the tiny geometry."""
    monkeypatch.setattr(converting, "public_transformer", lambda kind: TINY)
    folder = tmp_path / "distill"
    folder.mkdir()
    tensors = {name: tensor.float() + 1e-4 for name, tensor in random_model().state_dict().items()}
    places = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def loaded(folder, config: ModelConfig = TINY) -> Transformer:
    with torch.device("meta"):
        model = Transformer(config)
    stream_into(model, folder, device="cpu")
    return model


def given() -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(1, 48, 2, 4, 4, generator=generator), torch.randn(1, 5, 64, generator=generator))
    return latents, Text(torch.randn(1, 3, 20, generator=generator), torch.tensor([3]))


def same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    assert list(ours) == list(theirs)
    return all(
        ours[name].dtype == theirs[name].dtype
        and torch.equal(ours[name].contiguous().view(torch.uint8), theirs[name].contiguous().view(torch.uint8))
        for name in ours
    )


# -------------------------------------------------------------------------------------------------------- the same bits
@ALL_FORMATS
@torch.no_grad()
def test_converted_weights_are_those_of_quantising_the_loaded_model(public, tmp_path, number_format):
    convert(public, tmp_path / "out", number_format)
    ours, theirs = load_converted(tmp_path / "out"), loaded(public)
    if number_format in KINDS:
        quantise(theirs, number_format)
    assert same(ours.state_dict(), theirs.state_dict())
    assert torch.equal(ours(*given()).video, theirs(*given()).video)


@ALL_FORMATS
def test_the_folder_says_what_it_is(public, tmp_path, number_format):
    done = convert(public, tmp_path / "out", number_format)
    assert open_converted(tmp_path / "out") == (TINY, number_format)
    assert sorted(os.listdir(tmp_path / "out")) == ["model.safetensors"] and done.files == 1
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert done.bytes_after == sum(tensor.nbytes for tensor in tensors.values()) < done.bytes_before
    assert done.bytes_before == sum(4 * tensor.numel() for tensor in random_model().state_dict().values())
    assert (tmp_path / "out" / "model.safetensors").stat().st_mode & 0o044 == 0o044


@ALL_FORMATS
def test_shards_have_an_index_and_hold_the_same(public, tmp_path, number_format):
    whole = convert(public, tmp_path / "whole", number_format)
    parts = convert(public, tmp_path / "parts", number_format, shard_bytes=20_000)
    assert parts.files > 2 and parts.bytes_after == whole.bytes_after
    files = sorted((tmp_path / "parts").glob("model-*"))
    assert [file.name for file in files][-1] == f"model-{parts.files:05}-of-{parts.files:05}.safetensors"
    index = json.loads((tmp_path / "parts" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == whole.bytes_after
    for file in files:
        tensors = load_file(file)
        assert len(tensors) <= 2 or sum(tensor.nbytes for tensor in tensors.values()) <= 20_000
        assert {name for name, place in index["weight_map"].items() if place == file.name} == set(tensors)
        assert read_metadata(file)["number_format"] == number_format
    assert same(load_converted(tmp_path / "parts").state_dict(), load_converted(tmp_path / "whole").state_dict())


def test_dynamic_is_chosen_when_a_model_is_loaded(public, tmp_path):
    convert(public, tmp_path / "int8", "int8")
    convert(public, tmp_path / "bf16", "bf16")
    model = load_converted(tmp_path / "int8", dynamic=True)
    ways = [module.dynamic for module in model.modules() if isinstance(module, QuantisedLinear)]
    assert ways == 4 * [False] + 4 * [True] + 4 * [False]
    with pytest.raises(ConfigError, match="no quantised matrices"):
        load_converted(tmp_path / "bf16", dynamic=True)


# --------------------------------------------------------------------------------------------------------- own files
@ALL_FORMATS
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.int8])
def test_own_weight_files_carry_their_configuration(tmp_path, number_format, stored):
    config = TINY.replace(weight_dtype="float32", local_layers=(1,))
    save_module(random_model(config), tmp_path / "base.safetensors", stored)
    convert(tmp_path / "base.safetensors", tmp_path / "out", number_format)
    kept = config.replace(weight_dtype="bfloat16") if number_format == "bf16" else config
    assert open_converted(tmp_path / "out") == (kept, number_format)
    theirs = random_model(kept)
    load_module(theirs, tmp_path / "base.safetensors")
    if number_format in KINDS:
        quantise(theirs, number_format)
    assert same(load_converted(tmp_path / "out").state_dict(), theirs.state_dict())


def test_what_is_in_bf16_can_be_converted_again_and_bytes_cannot(public, tmp_path):
    convert(public, tmp_path / "bf16", "bf16")
    convert(tmp_path / "bf16", tmp_path / "later", "fp8")
    convert(public, tmp_path / "fp8", "fp8")
    assert same(load_converted(tmp_path / "later").state_dict(), load_converted(tmp_path / "fp8").state_dict())
    with pytest.raises(WeightsError, match="is in fp8 already; convert the weights that it was made of"):
        convert(tmp_path / "fp8", tmp_path / "again", "int8")


# -------------------------------------------------------------------------------------------------- whole or not at all
def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("shard_bytes", [5 * 10**9, 20_000])
def test_ctrl_c_leaves_nothing(public, tmp_path, shard_bytes):
    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(public, tmp_path / "out", "int8", shard_bytes=shard_bytes, progress=stop)
    assert left(tmp_path) == ["distill"]


def test_a_disk_that_fills_up_leaves_nothing(public, tmp_path, disk_of):
    with disk_of(50_000), pytest.raises(OutputError, match="no space left to write"):
        convert(public, tmp_path / "out", "bf16")
    assert left(tmp_path) == ["distill"]


def test_space_is_asked_for_before_anything_is_read(public, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(OutputError, match=r"needs 0\.0 GB, and .* has 0\.0 GB free; free some space"):
        convert(public, tmp_path / "out", "bf16", progress=lambda *_: pytest.fail("read"))
    assert left(tmp_path) == ["distill"]


def test_what_is_there_is_never_replaced(public, tmp_path):
    convert(public, tmp_path / "out", "bf16")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match="exists; choose another name"):
        convert(public, tmp_path / "out", "int8")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    with pytest.raises(OutputError, match="does not exist; make it first"):
        convert(public, tmp_path / "a" / "b", "int8")


def test_one_tensor_is_held_at_a_time(public, tmp_path, monkeypatch):
    held, sizes = [0], list[int]()
    made = converting._converted

    def counted(*arguments):
        tensors = made(*arguments)
        sizes.append(sum(tensor.nbytes for tensor in tensors.values()))
        held[0] += sizes[-1]
        return tensors

    def progress(done, total):
        assert held[0] == sizes[-1], "every tensor is written before the next is made"
        held[0] = 0

    monkeypatch.setattr(converting, "_converted", counted)
    convert(public, tmp_path / "out", "int8", progress=progress)
    assert len(sizes) == len(random_model().state_dict())


def test_progress_ends_at_the_whole(public, tmp_path):
    calls = []
    done = convert(public, tmp_path / "out", "fp8", progress=lambda *call: calls.append(call))
    assert calls == sorted(calls) and calls[-1] == (done.bytes_before, done.bytes_before)


# --------------------------------------------------------------------------------------------------------------- errors
def test_sources_that_are_no_transformer(public, tmp_path):
    with pytest.raises(WeightsError, match="no format 'int4'"):
        convert(public, tmp_path / "out", "int4")
    save_file({"a": torch.ones(2)}, tmp_path / "base.safetensors")
    with pytest.raises(WeightsError, match=r"base\.safetensors does not fit its model: it lacks \d+ tensors"):
        convert(tmp_path / "base.safetensors", tmp_path / "out", "int8", kind="base")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        convert(tmp_path / "nothing", tmp_path / "out", "int8")
    public = public.rename(tmp_path / "weights")
    with pytest.raises(WeightsError, match="does not say which checkpoint it is"):
        convert(public, tmp_path / "out", "int8")
    convert(public, tmp_path / "out", "int8", kind="1080p")


def test_numbers_that_are_not_finite_are_refused(public, tmp_path):
    path = public / "model-0.safetensors"
    tensors = load_file(path)
    matrix = next(name for name in tensors if name.startswith("block") and tensors[name].ndim == 2)
    tensors[matrix][3, 2] = float("nan")
    save_file(tensors, path)
    with pytest.raises(WeightsError, match=f"{matrix} holds numbers that are not finite"):
        convert(public, tmp_path / "out", "fp8")
    assert left(tmp_path) == ["distill"]


def test_folders_that_are_not_converted(public, tmp_path):
    with pytest.raises(WeightsError, match="is not a converted model; happyhorse convert makes one"):
        open_converted(public)
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"number_format": "int4", "config": "{}"})
    with pytest.raises(WeightsError, match="no format 'int4'"):
        open_converted(tmp_path / "a.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "b.safetensors", {"number_format": "int8", "config": '{"colour": 1}'})
    with pytest.raises(WeightsError, match="another version"):
        open_converted(tmp_path / "b.safetensors")


# ------------------------------------------------------------------------------------------------------------- the file
def test_tensors_of_all_widths_are_read_back_by_others(tmp_path):
    tensors = {
        "odd": torch.arange(3, dtype=torch.int8),
        "wide": torch.randn(5, dtype=torch.float64),
        "narrow": torch.randn(3).to(torch.float8_e4m3fn),
        "half": torch.randn(1, 3).bfloat16(),
        "none": torch.zeros(0, 4),
        "one": torch.tensor(2.5),
    }
    described = {name: Described(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    with written_safetensors(tmp_path / "a.safetensors", described, {"who": "me"}) as write:
        for name in reversed(tensors):
            write({name: tensors[name]})
    found = load_file(tmp_path / "a.safetensors")
    assert set(found) == set(tensors) and read_metadata(tmp_path / "a.safetensors") == {"who": "me"}
    assert all(torch.equal(found[name].double(), tensors[name].double()) for name in tensors)
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)
