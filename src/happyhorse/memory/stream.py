"""Runs a stack of layers whose weights lie in host memory: each is copied over while the one before it computes.

``stream_layers(model.block.layers, device)`` replaces the layers in place; whoever calls them sees no difference, and
the numbers are the same. On a GPU the host's copy is pinned, so that copying and computing overlap; two buffers on the
device hold the layer that computes and the one that comes next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

ALIGNMENT = 256
"""Bytes that every tensor's place in a block is a multiple of."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor lies in a block of bytes."""

    name: str
    dtype: torch.dtype
    shape: torch.Size
    start: int
    """First byte."""

    @property
    def stop(self) -> int:
        return self.start + self.shape.numel() * self.dtype.itemsize

    def view(self, block: Tensor) -> Tensor:
        """The tensor in a block [bytes] uint8."""
        return block[self.start : self.stop].view(self.dtype).view(self.shape)


def places(tensors: Mapping[str, Tensor]) -> list[Place]:
    """A place for each tensor, one after the other."""
    found, start = [], 0
    for name, tensor in tensors.items():
        place = Place(name, tensor.dtype, tensor.shape, start)
        found.append(place)
        start = -(-place.stop // ALIGNMENT) * ALIGNMENT
    return found


class PackedLayer:
    """All tensors of a layer in one block of host memory, so that one copy brings them over."""

    def __init__(self, layer: nn.Module, pin: bool) -> None:
        tensors = dict(named_tensors(layer))
        self.places = places(tensors)
        self.block = torch.empty(self.bytes, dtype=torch.uint8, pin_memory=pin)
        for name, view in self.views(self.block).items():
            view.copy_(tensors[name])
        layer.to("meta")  # what is left of it says what to compute, and holds no numbers

    @property
    def bytes(self) -> int:
        return self.places[-1].stop if self.places else 0

    def views(self, block: Tensor) -> dict[str, Tensor]:
        """The layer's tensors in a block of its own size or larger."""
        return {place.name: place.view(block) for place in self.places}


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, by name."""
    yield from module.named_parameters()
    yield from module.named_buffers()


def tensor_bytes(module: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(tensor.numel() * tensor.dtype.itemsize for _, tensor in named_tensors(module))


class Stream(Protocol):
    """Weights of layers, which are asked for in order, again and again."""

    def weights(self, index: int) -> dict[str, Tensor]:
        """The tensors of a layer on the device, until ``used`` is called."""
        ...

    def used(self, index: int) -> None:
        """Says that the layer's work is queued."""
        ...

    def close(self) -> None:
        """Gives memory back; the next layer that is asked for takes it again."""
        ...


class LayerStream:
    """Two buffers on the device, filled in turn; the layers are asked for in order, again and again."""

    def __init__(self, layers: Sequence[PackedLayer], device: torch.device) -> None:
        self.layers, self.device = layers, device
        self.copier = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.buffers: list[Buffer] = []

    def open(self) -> None:
        """Takes the memory of both buffers."""
        size = max(layer.bytes for layer in self.layers)
        self.buffers = [Buffer(size, self.device) for _ in range(2)]

    def close(self) -> None:
        """Gives it back; the next layer that is asked for takes it again."""
        if self.copier:
            self.copier.synchronize()
        self.buffers = []

    def weights(self, index: int) -> dict[str, Tensor]:
        """The tensors of a layer on the device; the next layer's are on their way when this returns."""
        if not self.buffers:
            self.open()
        here, other = self.buffers
        if other.layer == index:
            here, other = other, here
        if here.layer != index:
            here.fetch(index, self.layers[index].block, self.copier)
        here.wait()
        following = (index + 1) % len(self.layers)
        if following not in (here.layer, other.layer):
            other.fetch(following, self.layers[following].block, self.copier)
        return self.layers[index].views(here.block)

    def used(self, index: int) -> None:
        """Says that the layer's work is queued: its buffer may be filled again once that is done."""
        next(buffer for buffer in self.buffers if buffer.layer == index).release()


class Buffer:
    """Room on the device for one layer at a time."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.block = torch.empty(size, dtype=torch.uint8, device=device)
        self.layer: int | None = None
        """The layer that is in it or on its way."""
        cuda = device.type == "cuda"
        self.arrived = torch.cuda.Event() if cuda else None
        self.unused = torch.cuda.Event() if cuda else None

    def fetch(self, layer: int, source: Tensor, copier: torch.cuda.Stream | None) -> None:
        """Copies a layer's bytes here, on a GPU behind whatever still reads the layer before."""
        self.layer = layer
        self.copy(source, copier)

    def copy(self, source: Tensor, copier: torch.cuda.Stream | None) -> None:
        target = self.block[: len(source)]
        if copier is None:
            target.copy_(source)
            return
        assert self.arrived and self.unused
        with torch.cuda.stream(copier):
            copier.wait_event(self.unused)
            target.copy_(source, non_blocking=True)
            self.arrived.record(copier)

    def wait(self) -> None:
        """Work that is queued from now on finds the layer here."""
        if self.arrived:
            torch.cuda.current_stream(self.block.device).wait_event(self.arrived)

    def release(self) -> None:
        if self.unused:
            self.unused.record(torch.cuda.current_stream(self.block.device))


class StreamedLayer(nn.Module):
    """A layer that gets its weights from a stream when it is called; anything else is asked of the layer itself."""

    layer: nn.Module
    """Not one of this module's own: it holds no numbers, and nothing that asks for tensors must find it."""

    def __init__(self, layer: nn.Module, stream: Stream, index: int) -> None:
        super().__init__()
        object.__setattr__(self, "layer", layer)
        self.stream, self.index = stream, index

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        result = functional_call(self.layer, self.stream.weights(self.index), args, kwargs)
        self.stream.used(self.index)
        return result

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.layer, name)


def stream_layers(layers: nn.ModuleList, device: torch.device, resident: int = 0) -> LayerStream | None:
    """Makes all ``layers`` but the first ``resident`` ones run on the device from a stream, which is returned; None if
    there are no such layers.

    A layer's weights leave the module for one block of host memory, one layer at a time.
    """
    streamed = range(min(resident, len(layers)), len(layers))
    packed = [PackedLayer(layers[index], pin=device.type == "cuda") for index in streamed]
    if not packed:
        return None
    stream = LayerStream(packed, device)
    replace_layers(layers, stream, streamed)
    return stream


def replace_layers(layers: nn.ModuleList, stream: Stream, indices: Iterable[int]) -> None:
    """Puts layers that get their weights from ``stream`` in the places ``indices``."""
    for number, index in enumerate(indices):
        layers[index] = StreamedLayer(layers[index], stream, number)
