import copy

import pytest
import torch
from torch import nn

from happyhorse.config import ModelConfig
from happyhorse.memory.stream import (
    Buffer,
    PackedLayer,
    StreamedLayer,
    named_tensors,
    places,
    stream_layers,
    tensor_bytes,
)
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    geometry = ModelConfig(
        hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=3, text="features", text_channels=16
    )
    return Transformer(geometry.replace(coordinates="v2")).eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    latents = Latents(torch.randn(1, 48, 2, 4, 4), torch.randn(1, 5, 64))
    return latents, Text(torch.randn(1, 3, 16), torch.tensor([3]))


@pytest.mark.parametrize("resident", [0, 1, 2, 4, 5, 9])
@torch.no_grad()
def test_streamed_layers_give_the_same_numbers_again_and_again(model, inputs, resident):
    expected = model(*inputs)
    stream_layers(model.block.layers, CPU, resident)
    for _ in range(3):
        found = model(*inputs)
        assert torch.equal(found.video, expected.video) and torch.equal(found.audio, expected.audio)
    streamed = [layer for layer in model.block.layers if isinstance(layer, StreamedLayer)]
    assert len(streamed) == max(0, 5 - resident)


@torch.no_grad()
def test_layers_may_be_asked_for_out_of_order(model, inputs):
    """A pass that was stopped in its middle begins again at the first layer."""
    expected = model(*inputs)
    layers = model.block.layers
    stream_layers(layers, CPU)
    layout = model.layout(*inputs)
    hidden = torch.randn(1, layout.cos.shape[1], 32)
    layers[0](hidden, layout)
    layers[1](hidden, layout)
    assert torch.equal(model(*inputs).video, expected.video)


def test_the_module_keeps_no_second_copy(model):
    whole = tensor_bytes(model.block.layers[1])
    stream_layers(model.block.layers, CPU, resident=1)
    layer = model.block.layers[1]
    assert all(tensor.is_meta for _, tensor in named_tensors(layer.layer))
    assert whole <= layer.stream.layers[0].bytes < whole + 256 * len(list(named_tensors(layer.layer)))
    layer.stream.open()
    largest = max(packed.bytes for packed in layer.stream.layers)
    assert [len(buffer.block) for buffer in layer.stream.buffers] == [largest, largest]


@torch.no_grad()
def test_a_stream_that_was_closed_opens_again(model, inputs):
    expected = model(*inputs)
    stream = stream_layers(model.block.layers, CPU)
    assert stream is not None
    for _ in range(2):
        assert torch.equal(model(*inputs).video, expected.video)
        stream.close()
        assert not stream.buffers


@torch.no_grad()
def test_a_layer_is_copied_once_in_a_pass_and_before_it_is_asked_for(model, inputs, monkeypatch):
    copied, fetch = [], Buffer.fetch
    monkeypatch.setattr(Buffer, "fetch", lambda self, layer, *rest: (copied.append(layer), fetch(self, layer, *rest)))
    stream_layers(model.block.layers, CPU)
    for _ in range(2):
        model(*inputs)
    assert copied == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]


def test_packing_keeps_dtypes_and_values():
    layer = nn.Linear(3, 5)
    layer.register_buffer("steps", torch.arange(7))
    layer.weight.data = layer.weight.data.bfloat16()
    expected = copy.deepcopy(dict(named_tensors(layer)))
    packed = PackedLayer(layer, pin=False)
    for name, value in packed.views(packed.block).items():
        assert value.dtype == expected[name].dtype and torch.equal(value, expected[name])


def test_places_do_not_overlap_and_are_aligned():
    found = places({"a": torch.zeros(3, dtype=torch.uint8), "b": torch.zeros(2, 2), "c": torch.zeros(())})
    assert [place.start for place in found] == [0, 256, 512]
    assert [place.stop for place in found] == [3, 272, 516]


def test_a_streamed_layer_answers_for_its_layer(model):
    stream_layers(model.block.layers, CPU)
    assert model.block.layers[0].attention.radius is None
    with pytest.raises(AttributeError, match="unheard_of"):
        model.block.layers[0].unheard_of  # noqa: B018


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.no_grad()
def test_streaming_to_a_gpu_gives_the_same_numbers(model, inputs):
    device = torch.device("cuda")
    latents, text = inputs[0].to(device), inputs[1].to(device)
    expected = copy.deepcopy(model).to(device)(latents, text)
    stream_layers(model.block.layers, device, resident=1)
    for tensor in model.parameters():
        if not tensor.is_meta:
            tensor.data = tensor.data.to(device)
    model.adapter.rope.to(device)
    for _ in range(3):
        assert torch.equal(model(latents, text).video, expected.video)
