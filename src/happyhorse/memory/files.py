"""Layers whose weights stay in files: each is read when it is its turn, and forgotten afterwards.

For machines whose memory holds neither the model nor a copy of its layers. On a CPU a layer's tensors are parts of the
mapped file, so that the system's cache of files is all the memory they take; on a GPU a thread reads the next layer
into pinned memory, and from there it is copied, while the layer before computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor, nn

from happyhorse.memory.stream import Buffer, Place, named_tensors, places, replace_layers

Read = Callable[[str], Tensor]
"""A stored tensor by its name in the file, on the CPU."""


class FiledLayer:
    """The tensors of a layer, in files."""

    def __init__(self, layer: nn.Module, names: Mapping[str, str], read: Read) -> None:
        """``layer`` is on the meta device; ``names`` says what each of its tensors is called in the files."""
        tensors = dict(named_tensors(layer))
        assert all(tensor.is_meta for tensor in tensors.values()), "a layer that has numbers need not be read"
        self.places, self.names, self._read = places(tensors), names, read

    @property
    def bytes(self) -> int:
        return self.places[-1].stop

    def tensor(self, place: Place) -> Tensor:
        """A tensor as the file has it, or cast to the layer's dtype if that is another."""
        return self._read(self.names[place.name]).to(place.dtype)

    def fill(self, block: Tensor) -> None:
        """Reads all tensors into a block [bytes] uint8."""
        for place in self.places:
            place.view(block).copy_(self._read(self.names[place.name]))


class MappedStream:
    """Layers for a CPU: tensors are parts of the mapped files where their dtype is the layer's."""

    def __init__(self, layers: Sequence[FiledLayer]) -> None:
        self.layers = layers

    def weights(self, index: int) -> dict[str, Tensor]:
        layer = self.layers[index]
        return {place.name: layer.tensor(place) for place in layer.places}

    def used(self, index: int) -> None:
        pass

    def close(self) -> None:
        pass


class ReadStream:
    """Layers for a GPU: two buffers there, a pinned block for each, and a thread that reads ahead."""

    def __init__(self, layers: Sequence[FiledLayer], device: torch.device) -> None:
        self.layers, self.device = layers, device
        self.copier = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.reader = ThreadPoolExecutor(1)
        self.buffers: list[Buffer] = []
        self.blocks: list[Tensor] = []
        self.coming: list[Future[None]] = []

    def weights(self, index: int) -> dict[str, Tensor]:
        if not self.buffers:
            self._open()
        slot = next((slot for slot in (0, 1) if self.buffers[slot].layer == index), 0)
        if self.buffers[slot].layer != index:
            self._ask(index, slot)
        self.coming[slot].result()
        self.buffers[slot].wait()
        following = (index + 1) % len(self.layers)
        if following not in (buffer.layer for buffer in self.buffers):
            self._ask(following, 1 - slot)
        block = self.buffers[slot].block
        return {place.name: place.view(block) for place in self.layers[index].places}

    def used(self, index: int) -> None:
        next(buffer for buffer in self.buffers if buffer.layer == index).release()

    def close(self) -> None:
        for future in self.coming:
            if not future.cancel():
                future.exception()  # waits; whoever asked for the layer has heard of it
        if self.copier:
            self.copier.synchronize()
        self.buffers, self.blocks, self.coming = [], [], []

    def _open(self) -> None:
        size, pin = max(layer.bytes for layer in self.layers), self.copier is not None
        self.buffers = [Buffer(size, self.device) for _ in range(2)]
        self.blocks = [torch.empty(size, dtype=torch.uint8, pin_memory=pin) for _ in range(2)]
        self.coming = [Future(), Future()]

    def _ask(self, index: int, slot: int) -> None:
        self.buffers[slot].layer = index
        self.coming[slot] = self.reader.submit(self._bring, index, slot)

    def _bring(self, index: int, slot: int) -> None:
        layer, buffer, block = self.layers[index], self.buffers[slot], self.blocks[slot]
        if buffer.arrived:
            buffer.arrived.synchronize()  # the copy of what the block held before
        layer.fill(block)
        buffer.copy(block[: layer.bytes], self.copier)


def file_layers(
    layers: nn.ModuleList, names: Callable[[int, str], str], read: Read, device: torch.device
) -> MappedStream | ReadStream:
    """Makes all ``layers``, which are on the meta device, run on ``device`` from files; returns their stream.

    ``names(index, name)`` is what a layer's tensor is called in the files.
    """
    filed = [
        FiledLayer(layer, {name: names(index, name) for name, _ in named_tensors(layer)}, read)
        for index, layer in enumerate(layers)
    ]
    stream = MappedStream(filed) if device.type == "cpu" else ReadStream(filed, device)
    replace_layers(layers, stream, range(len(layers)))
    return stream
