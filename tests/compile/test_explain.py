import pytest
import torch

from happyhorse.compile import explain
from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.counting import ATTENTION, HEADS, LINEARS, PARTS
from happyhorse.compile.explain import FUSED, KINDS, Part, PartClock, kind_of, watch_compiler
from happyhorse.config import foal
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CPU = torch.device("cpu")


@pytest.fixture
def step():
    model = Transformer(foal(hidden=32, head_dim=8, query_heads=4, kv_heads=2, shared=1, text_vocab=32)).eval()
    latents = Latents(torch.randn(1, 48, 3, 4, 4), torch.randn(1, 9, 64))
    with torch.inference_mode():
        memory = model.encode_text(Text(torch.ones(1, 5, dtype=torch.int64), torch.tensor([5])))
    return model, lambda: model(latents, memory)


def test_a_steps_seconds_are_shared_out(step):
    with torch.inference_mode():
        parts = explain.explain(*step, seconds=2.0, device=CPU, passes=3)
    assert [part.name for part in parts] == list(PARTS)
    assert sum(part.seconds for part in parts) == pytest.approx(2.0)
    assert all(part.seconds > 0 and part.flops > 0 and part.moved > 0 for part in parts)


def test_compiled_seconds_are_shared_out_by_kind(step):
    with torch.inference_mode():
        kinds = explain.explain_compiled(step[1], seconds=3.0, device=CPU, passes=2)
    assert list(kinds) == list(KINDS)
    assert sum(kinds.values()) == pytest.approx(3.0)
    assert kinds[ATTENTION] > 0
    assert kinds[LINEARS] > 0


def test_the_clock_gives_time_to_the_innermost_part(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0])
    monkeypatch.setattr(explain.time, "process_time", lambda: next(ticks))
    clock = PartClock()
    with clock.at(LINEARS), clock.at(ATTENTION):
        pass
    clock.stop()
    assert (clock.spent[HEADS], clock.spent[LINEARS], clock.spent[ATTENTION]) == (1 + 16, 2 + 8, 4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mm", LINEARS),
        ("aten::_int_mm", LINEARS),
        ("mkldnn::_linear_pointwise", LINEARS),
        ("sm90_xmma_gemm_bf16bf16", LINEARS),
        ("aten::bmm", ATTENTION),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", ATTENTION),
        ("triton_poi_fused_mul_sigmoid_3", FUSED),
        ("aten::mul", FUSED),
    ],
)
def test_kinds_of_kernels(name, kind):
    assert kind_of(name) == kind


def test_a_parts_share_of_the_ceiling():
    machine = Ceilings("a machine", {"fp32": 100.0}, bandwidth=10.0)
    assert Part("p", flops=200, moved=1, calls=1, seconds=4.0).share(machine, "fp32") == 0.5
    assert Part("p", flops=1, moved=40, calls=1, seconds=4.0).share(machine, "fp32") == 1.0


def test_graphs_and_breaks_are_counted():
    torch._dynamo.reset()
    whole = torch.compile(lambda x: x.sin() + 1, backend="eager")
    with watch_compiler() as found:
        whole(torch.ones(3))
    assert (found.graphs, found.breaks) == (1, ())
    assert found.seconds > 0

    def broken(x):
        x = x.sin()
        torch._dynamo.graph_break()
        return x + 1

    with watch_compiler() as found:
        torch.compile(broken, backend="eager")(torch.ones(3))
    assert found.graphs == 2
    assert len(found.breaks) == 1
    with watch_compiler() as found:
        whole(torch.zeros(3))
    assert found.graphs == 0
