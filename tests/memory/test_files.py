import pytest
import torch
from safetensors.torch import save_file

from happyhorse.config import ModelConfig
from happyhorse.memory.files import MappedStream, ReadStream, file_layers
from happyhorse.memory.stream import named_tensors, replace_layers
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text
from happyhorse.weights.stream import open_checkpoint, stream_into

CPU = torch.device("cpu")
GEOMETRY = ModelConfig(
    hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=3, text="features", text_channels=16, coordinates="v2"
)


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    return Latents(torch.randn(1, 48, 2, 4, 4), torch.randn(1, 5, 64)), Text(torch.randn(1, 3, 16), torch.tensor([3]))


@pytest.fixture
def stored(tmp_path):
    """A model, and its file."""
    torch.manual_seed(0)
    model = Transformer(GEOMETRY).eval()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    return model, tmp_path / "model.safetensors"


def opened(path, dtype="float32"):
    """The model on the meta device and a reader of its file."""
    with torch.device("meta"):
        model = Transformer(GEOMETRY.replace(weight_dtype=dtype))
    return model, open_checkpoint(path)


def rest_of(model, path):
    """Gives everything but the layers its numbers."""
    stream_into(model, path, device=CPU, names=lambda name: None if name.startswith("block.layers.") else name)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", [MappedStream, ReadStream])
def test_layers_from_a_file_give_the_same_numbers_again_and_again(stored, inputs, kind):
    expected = stored[0](*inputs)
    model, reader = opened(stored[1])
    stream = file_layers(model.block.layers, lambda i, name: f"block.layers.{i}.{name}", reader.read, CPU)
    if kind is ReadStream:
        stream = ReadStream(stream.layers, CPU)
        for layer in model.block.layers:
            layer.stream = stream
    rest_of(model, stored[1])
    for _ in range(3):
        found = model(*inputs)
        assert torch.equal(found.video, expected.video) and torch.equal(found.audio, expected.audio)
        stream.close()


def test_a_layer_is_read_once_in_a_pass_and_before_it_is_asked_for(stored, monkeypatch):
    model, reader = opened(stored[1])
    layers = file_layers(model.block.layers, lambda i, name: f"block.layers.{i}.{name}", reader.read, CPU).layers
    stream, asked = ReadStream(layers, CPU), []
    ask = stream._ask
    monkeypatch.setattr(stream, "_ask", lambda index, slot: (asked.append(index), ask(index, slot)))
    for index in (0, 1, 2, 3, 4, 0, 1):
        stream.weights(index)
        stream.used(index)
    stream.close()
    assert asked == [0, 1, 2, 3, 4, 0, 1, 2]


@torch.no_grad()
def test_the_layers_are_never_in_memory(stored, inputs):
    model, reader = opened(stored[1])
    file_layers(model.block.layers, lambda i, name: f"block.layers.{i}.{name}", reader.read, CPU)
    rest_of(model, stored[1])
    assert not any("block" in name for name, _ in named_tensors(model))
    weights = model.block.layers[0].stream.weights(0)
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


@torch.no_grad()
def test_a_file_of_another_dtype_is_cast_layer_by_layer(stored, inputs):
    model, reader = opened(stored[1], "bfloat16")
    file_layers(model.block.layers, lambda i, name: f"block.layers.{i}.{name}", reader.read, CPU)
    rest_of(model, stored[1])
    for layer in stored[0].block.layers:
        for block in (
            layer.attention.linear_qkv,
            layer.attention.linear_proj,
            layer.mlp.up_gate_proj,
            layer.mlp.down_proj,
        ):
            block.weight.data = block.weight.data.bfloat16().float()
    torch.testing.assert_close(model(*inputs).video, stored[0](*inputs).video)


def test_a_layer_that_has_numbers_is_not_read_again(stored):
    with pytest.raises(AssertionError, match="need not be read"):
        file_layers(stored[0].block.layers, lambda i, name: name, lambda name: torch.zeros(1), CPU)


def test_an_error_of_the_reader_is_heard(stored, inputs):
    model, _ = opened(stored[1])

    def broken(name):
        raise OSError("the disk is gone")

    stream = file_layers(model.block.layers, lambda i, name: name, broken, CPU)
    reading = ReadStream(stream.layers, CPU)
    replace_layers(model.block.layers, reading, range(len(model.block.layers)))
    with pytest.raises(OSError, match="the disk is gone"):
        reading.weights(0)
    reading.close()
