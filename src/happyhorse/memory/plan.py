"""Where the weights of a large model go while a clip is made, from what the device and the host have free.

A clip is made in stages (text, generate, render, picture, sound), each with a module of its own, which may be

    resident    on the device always, for all stages and the next clip
    in turn     on the device during its stage; it waits in host memory, or is read again
    streamed    in host memory; its layers come over one by one while the ones before them compute (``stream.py``)
    from disk   in its files; its layers are read one by one, in every pass (``files.py``)

Every placement gives the same numbers. Of those that fit, the planner takes the one that copies the fewest bytes to the
device for a clip, and says what it expects.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Literal

from happyhorse.errors import DeviceMemoryError

Mode = Literal["resident", "in turn", "streamed", "from disk"]
MARGIN = 0.06
"""Share of the device's memory that is left alone: allocators round up, kernels need room to work."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage needs; all sizes in bytes."""

    name: str
    layers: tuple[int, ...]
    """Weights of the layers that could be streamed, in order; empty if none can."""
    rest: int
    """Weights that must be on the device for the whole stage."""
    working: int
    """Everything else at the stage's peak: rows, attention, frames."""
    passes: int = 1
    """How often the module is run for a clip."""

    @property
    def weights(self) -> int:
        return sum(self.layers) + self.rest

    @property
    def whole(self) -> int:
        """The peak with all weights on the device."""
        return self.weights + self.working

    @property
    def least(self) -> int:
        """The peak with every layer streamed through two buffers."""
        return self.streamed(0)

    def streamed(self, resident: int) -> int:
        """The peak with the first ``resident`` layers on the device and the others streamed."""
        others = self.layers[resident:]
        return self.rest + self.working + sum(self.layers[:resident]) + 2 * max(others, default=0)

    def resident_layers(self, room: int) -> int:
        """The most layers that can stay on a device with ``room`` bytes while the others are streamed."""
        fitting = [count for count in range(len(self.layers)) if self.streamed(count) <= room]
        return max(fitting, default=0)


@dataclasses.dataclass(frozen=True)
class Room:
    """What is free, in bytes."""

    device: int
    host: int
    """0 on a CPU: its memory is the host's."""

    @property
    def usable(self) -> int:
        return math.floor(self.device * (1 - MARGIN))


@dataclasses.dataclass(frozen=True)
class Seat:
    """Where a stage's module goes."""

    stage: Stage
    mode: Mode
    resident: int = 0
    """Layers that stay on the device when the others are streamed."""
    kept: bool = True
    """Whether host memory keeps the module between clips; otherwise it is read again."""

    @property
    def peak(self) -> int:
        """Bytes on the device while the stage runs, without what other stages leave there."""
        return self.stage.streamed(self.resident) if self.mode in ("streamed", "from disk") else self.stage.whole

    @property
    def host(self) -> int:
        """Bytes of host memory that the module takes while it waits or is streamed."""
        if self.mode == "streamed":
            return self.stage.weights if self.kept else sum(self.stage.layers[self.resident :])
        return self.stage.weights if self.mode == "in turn" and self.kept else 0

    @property
    def copied(self) -> int:
        """Bytes that come to the device for a clip."""
        if self.mode in ("streamed", "from disk"):
            streamed = sum(self.stage.layers[self.resident :])
            return self.stage.weights + streamed * (self.stage.passes - 1)
        return self.stage.weights if self.mode == "in turn" else 0

    def describe(self) -> str:
        if self.mode == "streamed":
            return f"streamed, {self.resident} of {len(self.stage.layers)} layers stay"
        if self.mode == "from disk":
            return "read from disk layer by layer, in every pass"
        return self.mode if self.kept or self.mode == "resident" else f"{self.mode}, read again for every clip"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A seat for every stage."""

    seats: tuple[Seat, ...]

    @property
    def peak(self) -> int:
        """Highest number of bytes on the device at any time."""
        staying = sum(seat.stage.weights for seat in self.seats if seat.mode == "resident")
        return max(
            staying + seat.stage.working if seat.mode == "resident" else staying + seat.peak for seat in self.seats
        )

    @property
    def host(self) -> int:
        """Bytes of host memory that weights take."""
        return sum(seat.host for seat in self.seats)

    def seat(self, name: str) -> Seat:
        return next(seat for seat in self.seats if seat.stage.name == name)

    def lines(self) -> list[str]:
        """For people: a line for each stage, and the sums."""
        width = max(len(seat.stage.name) for seat in self.seats)
        found = [
            f"{seat.stage.name:<{width}}  {gib(seat.stage.weights):>9} of weights, {seat.describe()}; "
            f"peak {gib(seat.peak)}"
            for seat in self.seats
        ]
        return [*found, f"expected peak {gib(self.peak)} on the device, {gib(self.host)} of weights in host memory"]


def plan(stages: Sequence[Stage], room: Room) -> Plan:
    """The placement with the fewest copies that fits. Raises DeviceMemoryError, saying how much is missing, if none
    does."""
    for stage in stages:
        if stage.least > room.usable:
            raise DeviceMemoryError(_too_large(stage, room))
    found = [seats for subset in _subsets(stages) if (seats := _seats(stages, subset, room.usable))]
    found.sort(key=lambda seats: sum(seat.copied for seat in seats))
    for seats in found:
        if Plan(seats).host <= room.host:
            return Plan(seats)
    # What waits need not wait in memory: it can be read again, and only streamed layers must be there, one stage's at a
    # time.
    unkept = [tuple(map(_unkept, seats)) for seats in found]
    for seats in unkept:
        if max(seat.host for seat in seats) <= room.host:
            return Plan(seats)
    # And layers need not be there either.
    return Plan(tuple(_from_disk(seat, room) for seat in unkept[0]))


def refit(before: Plan, stages: Sequence[Stage], room: Room) -> Plan | None:
    """An earlier plan's seats for a clip that needs other working memory; stages that it does not need keep theirs.

    None if it needs a stage that has no seat, or if they do not fit any more.
    """
    seats = {seat.stage.name: seat for seat in before.seats}
    if any(stage.name not in seats for stage in stages):
        return None
    new = {stage.name: dataclasses.replace(seats[stage.name], stage=stage) for stage in stages}
    found = Plan(tuple((seats | new).values()))
    return found if found.peak <= room.usable else None


def _subsets(stages: Sequence[Stage]) -> Iterator[set[str]]:
    """Every choice of stages that could be resident, the largest first."""
    names = [stage.name for stage in stages]
    for size in range(len(names), -1, -1):
        yield from map(set, itertools.combinations(names, size))


def _seats(stages: Sequence[Stage], resident: set[str], usable: int) -> tuple[Seat, ...] | None:
    """A seat for each stage where those named ``resident`` are; None if that does not fit."""
    room = usable - sum(stage.weights for stage in stages if stage.name in resident)
    found = [
        Seat(stage, "resident") if stage.name in resident and stage.working <= room else _moving(stage, room)
        for stage in stages
        if stage.name not in resident or stage.working <= room
    ]
    seats = tuple(seat for seat in found if seat)
    return seats if len(seats) == len(stages) else None


def _moving(stage: Stage, room: int) -> Seat | None:
    """The seat of a stage that has ``room`` bytes while it runs."""
    if stage.whole <= room:
        return Seat(stage, "in turn")
    return Seat(stage, "streamed", stage.resident_layers(room)) if stage.least <= room else None


def _too_large(stage: Stage, room: Room) -> str:
    least = math.ceil(stage.least / (1 - MARGIN))
    smaller = ", or convert the weights to fp8 or int8 (happyhorse convert)" if stage.layers else ""
    return (
        f"{stage.name} needs at least {gib(least)} on the device and {gib(room.device)} are free; "
        f"{gib(least - room.device)} are missing: ask for a smaller or shorter clip{smaller}"
    )


def _from_disk(seat: Seat, room: Room) -> Seat:
    """The seat, if its host memory is there, else one that needs none."""
    if seat.host <= room.host:
        return seat
    return dataclasses.replace(seat, mode="from disk", resident=0, kept=True)


def _unkept(seat: Seat) -> Seat:
    return dataclasses.replace(seat, kept=False)


def gib(count: int) -> str:
    """ "30.6 GiB"; what is less than a tenth of one in MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.1 * 2**30 or count == 0 else f"{count / 2**20:.1f} MiB"
