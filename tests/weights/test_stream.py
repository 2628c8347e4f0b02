import json
import weakref

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, WeightsError
from happyhorse.model.transformer import Transformer
from happyhorse.weights import stream
from happyhorse.weights.stream import open_checkpoint, stream_into


class Small(nn.Module):
    """Parameters in two dtypes, a buffer, and a table that no checkpoint holds."""

    count: torch.Tensor
    table: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
        self.matrix = nn.Parameter(torch.zeros(5, 6, dtype=torch.bfloat16), requires_grad=False)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("table", torch.arange(3.0), persistent=False)


def empty() -> Small:
    with torch.device("meta"):
        module = Small()
    module.table = torch.arange(3.0)
    return module


def numbers() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {name: tensor.shape for name, tensor in Small().state_dict().items()}
    made = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return {**made, "count": torch.tensor(7)}


def sharded(folder, tensors: dict[str, torch.Tensor], shards: int = 2):
    folder.mkdir(exist_ok=True)
    places = {name: f"model-{number % shards}.safetensors" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def single(folder, tensors: dict[str, torch.Tensor]):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def pickled(folder, tensors: dict[str, torch.Tensor]):
    folder.mkdir(exist_ok=True)
    torch.save({name: nn.Parameter(t) if t.is_floating_point() else t for name, t in tensors.items()}, folder / "w.pth")
    return folder / "w.pth"


KINDS = pytest.mark.parametrize("write", [sharded, single, pickled])


# --------------------------------------------------------------------------------------------------------- in its place
@KINDS
def test_every_tensor_arrives_in_the_dtype_of_the_module(tmp_path, write):
    module, tensors = empty(), numbers()
    stream_into(module, write(tmp_path / "w", tensors), device="cpu")
    assert module.matrix.dtype == torch.bfloat16 and module.inner[0].weight.dtype == torch.float32
    assert module.count.dtype == torch.int64 and module.count == 7
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[name].to(tensor.dtype)), name
    assert isinstance(module.matrix, nn.Parameter) and not module.matrix.requires_grad
    assert module.inner[0].weight.requires_grad


@KINDS
def test_the_module_keeps_nothing_of_the_file(tmp_path, write):
    module, tensors = empty(), numbers()
    path = write(tmp_path / "w", tensors)
    stream_into(module, path, device="cpu")
    for file in tmp_path.glob("w/*"):
        with file.open("r+b") as opened:
            opened.write(b"\xff" * file.stat().st_size)
    assert all(torch.equal(tensor, tensors[name].to(tensor.dtype)) for name, tensor in module.state_dict().items())


def test_a_transformer_without_numbers_is_filled_exactly(tmp_path):
    config = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, weight_dtype="bfloat16")
    whole = Transformer(config)
    tensors = {name: tensor.float() for name, tensor in whole.state_dict().items()}  # as three public ones are stored
    with torch.device("meta"):
        module = Transformer(config)
    stream_into(module, sharded(tmp_path, tensors, 3), device="cpu")
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == whole.state_dict()[name].dtype and torch.equal(tensor, whole.state_dict()[name]), name


def test_names_are_translated_and_others_left_out(tmp_path):
    tensors = {f"model.{name}": tensor for name, tensor in numbers().items()} | {"head": torch.ones(2)}
    path = sharded(tmp_path, tensors)
    for names in (
        lambda name: name.removeprefix("model.") if name != "head" else None,
        {name: name.removeprefix("model.") for name in tensors if name != "head"},
    ):
        module = empty()
        stream_into(module, path, device="cpu", names=names)
        assert torch.equal(module.state_dict()["inner.0.bias"], tensors["model.inner.0.bias"])
    with pytest.raises(WeightsError, match="holds count twice, as .* and as"):
        stream_into(empty(), path, device="cpu", names=lambda name: "count")


def test_shards_of_nothing_wanted_need_not_be_there(tmp_path):
    tensors = numbers()
    sharded(tmp_path, tensors, 1)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    index["weight_map"]["decoder"] = "model-9.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    stream_into(empty(), tmp_path, device="cpu", names=lambda name: None if name == "decoder" else name)
    with pytest.raises(WeightsError, match=r"model-9\.safetensors is missing, though the index names it"):
        stream_into(empty(), tmp_path, device="cpu")


def test_dtypes_can_be_chosen(tmp_path):
    path = single(tmp_path, numbers())
    module = empty()
    stream_into(module, path, device="cpu", dtypes={"inner.0.weight": torch.float16, "matrix": torch.float32})
    assert (module.inner[0].weight.dtype, module.matrix.dtype) == (torch.float16, torch.float32)
    module = empty()
    stream_into(module, path, device="cpu", dtypes=lambda name: torch.float64 if name.startswith("inner") else None)
    assert (module.inner[1].bias.dtype, module.matrix.dtype) == (torch.float64, torch.bfloat16)


def test_tensors_inside_a_dictionary_of_a_torch_file(tmp_path):
    content = {"step": 3, "ema": {f"module.{name}": tensor for name, tensor in numbers().items()}}
    torch.save(content, tmp_path / "w.ckpt")
    module = empty()
    stream_into(module, tmp_path / "w.ckpt", device="cpu", names=lambda name: name.removeprefix("ema.module."))
    assert torch.equal(module.state_dict()["inner.1.weight"], content["ema"]["module.inner.1.weight"])


def test_torch_files_from_before_zip(tmp_path):
    torch.save(numbers(), tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    module = empty()
    stream_into(module, tmp_path / "w.pth", device="cpu")
    assert torch.equal(module.state_dict()["inner.0.weight"], numbers()["inner.0.weight"])


@KINDS
def test_progress_counts_the_stored_bytes(tmp_path, write):
    tensors, calls = numbers(), []
    stream_into(empty(), write(tmp_path / "w", tensors), device="cpu", progress=lambda *call: calls.append(call))
    total = sum(tensor.nbytes for tensor in tensors.values())
    assert [done for done, _ in calls] == sorted(done for done, _ in calls) and len(calls) == len(tensors)
    assert calls[-1] == (total, total)


# --------------------------------------------------------------------------------------------------------------- memory
def test_one_stored_tensor_is_in_memory_at_a_time(tmp_path, monkeypatch):
    module = nn.ModuleList(nn.Linear(32, 32) for _ in range(6)).to("meta")
    tensors = {name: torch.randn(tensor.shape) for name, tensor in module.state_dict().items()}
    read, alive, most = stream.SafetensorsFiles.read, list[weakref.ref](), list[int]()

    def counted(self, name):
        assert not any(reference() is not None for reference in alive), "a tensor is read while another is held"
        tensor = read(self, name)
        alive[:] = [weakref.ref(tensor), weakref.ref(tensor.untyped_storage())]
        most.append(tensor.nbytes)
        return tensor

    monkeypatch.setattr(stream.SafetensorsFiles, "read", counted)
    stream_into(module, sharded(tmp_path, tensors), device="cpu")
    assert len(most) == 12 and max(most) == 32 * 32 * 4


def test_nothing_is_read_before_everything_fits(tmp_path, monkeypatch):
    monkeypatch.setattr(stream.SafetensorsFiles, "read", lambda *_: pytest.fail("read"))
    with pytest.raises(WeightsError):
        stream_into(empty(), single(tmp_path, {**numbers(), "matrix": torch.ones(2)}), device="cpu")


# --------------------------------------------------------------------------------------------------------------- errors
@KINDS
def test_names_and_shapes_that_do_not_fit_are_counted_and_three_are_named(tmp_path, write):
    tensors = {name: tensor for name, tensor in numbers().items() if not name.startswith("inner")}
    tensors |= {"a": torch.ones(1), "matrix": torch.ones(6, 5), "count": torch.tensor(1.0)}
    with pytest.raises(WeightsError) as error:
        stream_into(empty(), write(tmp_path / "w", tensors), device="cpu")
    said = str(error.value)
    assert "lacks 4 tensors (inner.0.weight, inner.0.bias, inner.1.weight, ...)" in said
    assert "holds 1 unknown tensor (a)" in said
    assert "matrix is [6, 5] instead of [5, 6]" in said and "count is torch.float32 instead of torch.int64" in said
    assert "\n" not in said


def test_bytes_are_never_cast(tmp_path):
    plain, narrow = nn.Linear(2, 2, bias=False).to("meta"), nn.Module()
    narrow.register_buffer("weight", torch.zeros(2, 2, dtype=torch.float8_e4m3fn, device="meta"))
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    save_file({"weight": torch.ones(2, 2).to(torch.float8_e4m3fn)}, tmp_path / "b.safetensors")
    stream_into(plain, tmp_path / "a.safetensors", device="cpu")
    stream_into(narrow, tmp_path / "b.safetensors", device="cpu")
    for module, name in ((narrow, "a"), (plain, "b")):
        with pytest.raises(WeightsError, match="weight is torch.float"):
            stream_into(module.to("meta"), tmp_path / f"{name}.safetensors", device="cpu")


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.98])
def test_a_truncated_shard_is_named(tmp_path, keep):
    sharded(tmp_path, numbers())
    path = tmp_path / "model-1.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep > 1 else int(keep * len(data))])
    with pytest.raises(WeightsError, match=r"model-1\.safetensors is damaged"):
        stream_into(empty(), tmp_path, device="cpu")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', '{"weight_map": {"a": "../b"}}']
)
def test_an_index_that_is_none(tmp_path, content):
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(WeightsError, match=r"index\.json is not an index of weight files"):
        stream_into(empty(), tmp_path, device="cpu")


def test_missing_shards_files_and_tensors(tmp_path):
    sharded(tmp_path / "w", numbers())
    (tmp_path / "w" / "model-1.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"model-1\.safetensors is missing"):
        stream_into(empty(), tmp_path / "w", device="cpu")
    index = tmp_path / "w" / "model.safetensors.index.json"
    swapped = json.loads(index.read_text())
    swapped["weight_map"] = dict.fromkeys(swapped["weight_map"], "model-0.safetensors")
    index.write_text(json.dumps(swapped))
    with pytest.raises(WeightsError, match=r"model-0\.safetensors holds no readable \S+ \(.*\); fetch"):
        stream_into(empty(), tmp_path / "w", device="cpu")
    with pytest.raises(WeightsError, match=r"neither model\.safetensors\.index\.json nor model\.safetensors"):
        stream_into(empty(), tmp_path, device="cpu")
    with pytest.raises(WeightsError, match="does not exist"):
        stream_into(empty(), tmp_path / "nothing", device="cpu")


class Unknown:
    """Not what a weight file should hold."""


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", [1], {"a": 1}, {"a": Unknown()}])
def test_torch_files_of_something_else(tmp_path, content):
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        open_checkpoint(path)


def test_a_truncated_torch_file(tmp_path):
    path = pickled(tmp_path, numbers())
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"w\.pth is damaged"):
        stream_into(empty(), path, device="cpu")


def test_a_device_that_is_not_here(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used here"):
        stream_into(empty(), single(tmp_path, numbers()), device="cuda:99")


def test_a_device_that_is_too_small(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(stream, "_moved", full)
    with pytest.raises(WeightsError, match="too little memory .* convert the weights to fp8 or int8"):
        stream_into(empty(), single(tmp_path, numbers()), device="cpu")


def test_tables_outside_the_state_must_be_there_before(tmp_path):
    with torch.device("meta"):
        module = Small()
    with pytest.raises(AssertionError, match="table must have numbers before"):
        stream_into(module, single(tmp_path, numbers()), device="cpu")
