"""The modules of a plan, each on the device while its stage runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping

import torch
from torch import nn

from happyhorse.memory.plan import Plan, Seat
from happyhorse.memory.stream import Stream, named_tensors, stream_layers

HOST = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Source:
    """How a stage's module is had."""

    load: Callable[[torch.device], nn.Module]
    """Reads the module to a device, ready to be used."""
    layers: Callable[[nn.Module], nn.ModuleList] | None = None
    """Finds the layers of it that can be streamed."""
    file: Callable[[torch.device], tuple[nn.Module, Stream]] | None = None
    """Makes the module with its layers left in files, to be run on a device; the rest of it is on the host."""


class Turns:
    """Lends modules stage by stage; what a plan keeps is read once."""

    def __init__(self, plan: Plan, sources: Mapping[str, Source], device: torch.device) -> None:
        self.plan, self.sources, self.device = plan, sources, device
        self._kept: dict[str, tuple[nn.Module, Stream | None]] = {}

    @contextlib.contextmanager
    def use(self, stage: str) -> Iterator[nn.Module]:
        """The module of a stage, on the device until the block ends."""
        seat = self.plan.seat(stage)
        module, stream = self._kept.get(stage) or self._read(seat)
        if seat.kept or seat.mode == "resident":
            self._kept[stage] = module, stream
        if seat.mode == "resident" or (seat.mode == "in turn" and not seat.kept):
            yield module  # it was read to the device, and stays or is forgotten
            return
        with borrowed(module, self.device):
            try:
                yield module
            finally:
                if stream:
                    stream.close()

    def change(self, plan: Plan, sources: Mapping[str, Source], fresh: Collection[str] = ()) -> None:
        """Goes on with another plan. Modules that keep their seats stay, but those of ``fresh`` stages, whose source is
        another one; the rest is read again when it is needed."""
        stays = {seat.stage.name for seat in plan.seats if _place_of(seat) in map(_place_of, self.plan.seats)}
        self._kept = {name: kept for name, kept in self._kept.items() if name in stays - {*fresh}}
        self.plan, self.sources = plan, sources

    def close(self) -> None:
        """Forgets everything that was kept."""
        self._kept.clear()

    def _read(self, seat: Seat) -> tuple[nn.Module, Stream | None]:
        source = self.sources[seat.stage.name]
        if seat.mode == "from disk":
            assert source.file is not None, f"{seat.stage.name} cannot be left in its files"
            return source.file(self.device)
        if seat.mode == "resident" or (seat.mode == "in turn" and not seat.kept):
            return source.load(self.device), None
        module = source.load(HOST)
        if seat.mode == "in turn":
            return module, None
        assert source.layers is not None, f"{seat.stage.name} has no layers to stream"
        return module, stream_layers(source.layers(module), self.device, seat.resident)


def _place_of(seat: Seat) -> tuple[str, str, int, bool]:
    return seat.stage.name, seat.mode, seat.resident, seat.kept


@contextlib.contextmanager
def borrowed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Inside of the block the module's tensors are on the device; afterwards the very tensors that were there before.

    Tensors on the meta device stay there.
    """
    home = {name: tensor.data for name, tensor in named_tensors(module) if not tensor.is_meta}
    try:
        _place(module, {name: tensor.to(device) for name, tensor in home.items()})
        yield
    finally:
        _place(module, home)


def _place(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in named_tensors(module):
        if name in tensors:
            tensor.data = tensors[name]
