import pytest
import torch
from torch import nn

from happyhorse.memory.plan import Plan, Seat, Stage
from happyhorse.memory.stream import StreamedLayer
from happyhorse.memory.turns import Source, Turns, borrowed

CPU = torch.device("cpu")
STAGE = Stage("generate", (1, 1, 1), 1, 1)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return x + self.offset


class Shop:
    """Counts how often it was asked, and for which device."""

    def __init__(self) -> None:
        self.asked: list[torch.device] = []

    def load(self, device: torch.device) -> nn.Module:
        self.asked.append(device)
        torch.manual_seed(0)
        return Stack().to(device)


def turns(seat: Seat) -> tuple[Turns, Shop]:
    shop = Shop()
    return Turns(Plan((seat,)), {"generate": Source(shop.load, lambda module: module.layers)}, CPU), shop  # type: ignore


SEATS = {
    "resident": (Seat(STAGE, "resident"), 1),
    "in turn": (Seat(STAGE, "in turn"), 1),
    "read again": (Seat(STAGE, "in turn", kept=False), 3),
    "streamed": (Seat(STAGE, "streamed"), 1),
    "partly streamed": (Seat(STAGE, "streamed", resident=2), 1),
    "streamed, read again": (Seat(STAGE, "streamed", kept=False), 3),
}


@pytest.mark.parametrize("name", SEATS)
@torch.no_grad()
def test_every_seat_gives_the_same_numbers_and_reads_as_often_as_it_must(name):
    seat, reads = SEATS[name]
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    expected = Shop().load(CPU)(x)
    taken, shop = turns(seat)
    for _ in range(3):
        with taken.use("generate") as module:
            assert torch.equal(module(x), expected)
    assert len(shop.asked) == reads


def test_streamed_layers_are_those_that_do_not_stay():
    taken, _ = turns(Seat(STAGE, "streamed", resident=2))
    with taken.use("generate") as module:
        assert [isinstance(layer, StreamedLayer) for layer in module.layers] == [False, False, True]  # type: ignore


def test_buffers_are_given_back_even_after_an_error():
    taken, _ = turns(Seat(STAGE, "streamed"))
    with pytest.raises(RuntimeError), taken.use("generate") as module:
        module(torch.randn(1, 4))
        stream = module.layers[0].stream  # type: ignore
        assert stream.buffers
        raise RuntimeError
    assert not stream.buffers


def test_what_was_borrowed_is_what_comes_back():
    module = Stack()
    before = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
    with pytest.raises(RuntimeError), borrowed(module, CPU):
        for tensor in module.parameters():
            tensor.data = tensor.data.clone()  # as a copy on another device would be
        raise RuntimeError
    assert {name: tensor.data_ptr() for name, tensor in module.state_dict().items()} == before


def test_what_was_kept_can_be_forgotten():
    taken, shop = turns(Seat(STAGE, "in turn"))
    for _ in range(2):
        with taken.use("generate"):
            pass
        taken.close()
    assert len(shop.asked) == 2


def test_another_plan_forgets_what_moves_and_what_is_of_another_source():
    taken, shop = turns(Seat(STAGE, "resident"))
    sources = taken.sources
    with taken.use("generate") as first:
        pass
    larger = Stage("generate", STAGE.layers, STAGE.rest, 100)
    taken.change(Plan((Seat(larger, "resident"),)), sources)
    with taken.use("generate") as same:
        assert same is first and taken.plan.seat("generate").stage is larger
    taken.change(taken.plan, sources, fresh=("generate",))
    with taken.use("generate") as other:
        assert other is not first
    taken.change(Plan((Seat(larger, "in turn"),)), sources)
    with taken.use("generate") as moved:
        assert moved is not other and len(shop.asked) == 3
