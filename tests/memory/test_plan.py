import dataclasses

import pytest

from happyhorse.errors import DeviceMemoryError
from happyhorse.memory.plan import Room, Stage, gib, plan, refit

GIB = 2**30
TEXT = Stage("text", (2 * GIB,) * 8, 2 * GIB, GIB)
MODEL = Stage("generate", (GIB,) * 28, GIB, 2 * GIB, passes=8)
DECODE = Stage("decode", (), GIB, 3 * GIB)
STAGES = (TEXT, MODEL, DECODE)


def room(device: float, host: float = 200) -> Room:
    """What is free so that ``device`` GiB are usable."""
    return Room(int(device * GIB / 0.94) + GIB // 100, int(host * GIB))


def test_everything_stays_where_there_is_room():
    found = plan(STAGES, room(51))
    assert [seat.mode for seat in found.seats] == ["resident"] * 3
    assert found.peak == (18 + 29 + 1 + 3) * GIB
    assert found.host == 0


def test_with_a_little_less_room_what_is_cheapest_to_copy_takes_turns():
    found = plan(STAGES, room(50.9))
    assert [seat.mode for seat in found.seats] == ["in turn", "resident", "resident"]
    assert found.peak == (29 + 1 + 18 + 1) * GIB
    assert found.host == 18 * GIB


def test_the_least_room_without_streaming():
    found = plan(STAGES, room(31))
    assert [seat.mode for seat in found.seats] == ["in turn", "in turn", "in turn"]
    assert found.peak == 31 * GIB
    assert found.host == (18 + 29 + 1) * GIB


def test_without_host_memory_modules_are_read_again():
    found = plan(STAGES, room(31, host=4))
    assert [(seat.mode, seat.kept) for seat in found.seats] == [("in turn", False)] * 3
    assert found.host == 0
    assert "read again" in found.seats[0].describe()


def test_what_does_not_fit_is_streamed_with_as_many_layers_at_home_as_possible():
    found = plan(STAGES, room(20))
    assert [seat.mode for seat in found.seats] == ["in turn", "streamed", "in turn"]
    seat = found.seat("generate")
    # 1 of the rest, 2 to work in, 2 for the buffers: 15 layers stay.
    assert (seat.resident, seat.peak) == (15, 20 * GIB)
    assert seat.host == 29 * GIB


def test_layers_that_are_used_often_are_dearest_to_stream():
    """One pass over the first and eight over the second: the second stays, although it is the smaller one."""
    often = Stage("often", (GIB,) * 10, GIB, GIB, passes=8)
    once = Stage("once", (GIB,) * 12, GIB, GIB)
    found = plan((once, often), room(20))
    assert [seat.mode for seat in found.seats] == ["streamed", "resident"]


def test_the_least_device_that_works():
    found = plan(STAGES, room(7))
    assert [seat.resident for seat in found.seats] == [0, 2, 0]
    assert found.peak == 7 * GIB
    with pytest.raises(DeviceMemoryError, match=r"text needs at least 7\.4 GiB .* are missing.*happyhorse convert"):
        plan(STAGES, room(6.9))
    with pytest.raises(DeviceMemoryError, match=r"decode needs at least .* smaller or shorter clip$"):
        plan((DECODE,), room(2))


def test_streamed_layers_need_host_memory_and_without_it_are_read_from_disk():
    found = plan(STAGES, room(7, host=30))
    assert [seat.mode for seat in found.seats] == ["streamed", "streamed", "in turn"]
    assert not any(seat.kept for seat in found.seats)
    found = plan(STAGES, room(7, host=20))
    assert [seat.mode for seat in found.seats] == ["streamed", "from disk", "in turn"]
    assert (found.peak, found.seat("generate").host) == (7 * GIB, 0)
    assert found.seat("generate").describe() == "read from disk layer by layer, in every pass"


def test_a_cpu_streams_nothing():
    """Its memory is the host's: what does not fit is read from disk."""
    found = plan(STAGES, room(25, host=0))
    assert [seat.mode for seat in found.seats] == ["in turn", "from disk", "in turn"]
    assert found.host == 0


def test_a_plan_says_what_it_does():
    lines = plan(STAGES, room(20)).lines()
    assert lines[1] == "generate   29.0 GiB of weights, streamed, 15 of 28 layers stay; peak 20.0 GiB"
    assert lines[-1] == "expected peak 20.0 GiB on the device, 48.0 GiB of weights in host memory"
    assert gib(1536 * 2**20) == "1.5 GiB"


def test_a_plan_stays_for_another_clip_for_as_long_as_it_fits():
    before = plan((TEXT, MODEL), room(51))
    longer = dataclasses.replace(MODEL, working=4 * GIB)
    after = refit(before, [longer], room(51))
    assert after is not None and [seat.mode for seat in after.seats] == [seat.mode for seat in before.seats]
    assert after.seat("generate").stage == longer and after.seat("text") == before.seat("text")
    assert refit(before, [dataclasses.replace(MODEL, working=5 * GIB)], room(51)) is None
    assert refit(before, [DECODE], room(51)) is None
