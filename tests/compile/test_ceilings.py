import pytest
import torch

from happyhorse.compile import ceilings
from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.timing import Spent

CPU = torch.device("cpu")
MACHINE = Ceilings("a machine", {"fp32": 100.0, "int8": 400.0}, bandwidth=10.0)


def test_a_machine_is_measured():
    found = ceilings.measure(CPU, side=64, seconds=0.01)
    assert {"fp32", "bf16", "int8"} <= set(found.matmul)
    assert "fp8" not in found.matmul
    assert min(found.matmul.values()) > 0
    assert found.bandwidth > 0
    assert torch.__version__ in found.where


def test_a_rate_is_the_median_and_does_not_count_the_first_run(monkeypatch):
    ran, spent = [], iter([Spent(1, 4.0), Spent(1, 2.0), Spent(1, 1000.0)])

    def timed(run, device):
        run()
        return next(spent)

    monkeypatch.setattr(ceilings, "timed", timed)
    assert ceilings.rate(8.0, lambda: ran.append(1), CPU, seconds=3) == 2.0
    assert len(ran) == 4


@pytest.mark.parametrize(("flops", "moved", "seconds"), [(200, 1, 2.0), (1, 50, 5.0), (0, 0, 0.0)])
def test_the_floor_is_the_slower_of_products_and_memory(flops, moved, seconds):
    assert MACHINE.floor(flops, moved, "fp32") == seconds


def test_the_ridge_is_where_both_take_as_long():
    at = MACHINE.ridge("int8")
    assert MACHINE.floor(at * 7, 7, "int8") == pytest.approx(7 / MACHINE.bandwidth)
    assert at == 40.0
