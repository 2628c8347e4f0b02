"""Whether a model is compiled: never so that a person waits longer than without."""

import pytest
import torch

from happyhorse.compile.choose import (
    MARGIN,
    SAVED,
    choose,
    compiling_seconds,
    operations,
    prepared,
    spec_of,
    work_seconds,
)
from happyhorse.compile.counting import count
from happyhorse.compile.linears import use_linears
from happyhorse.config import ModelConfig, foal
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CPU = torch.device("cpu")
NOTHING = {"packaged": False, "missing": "", "work": 1.0, "compiling": 40.0}


def test_off_is_off_even_with_a_package():
    assert choose("off", **{**NOTHING, "packaged": True}).way == "eager"


@pytest.mark.parametrize("asked", ["auto", "max"])
def test_a_package_at_hand_is_used_even_without_a_compiler(asked):
    choice = choose(asked, **{**NOTHING, "packaged": True, "missing": "a C++ compiler"})
    assert (choice.way, choice.why) == ("load", "compiled: a package is at hand")


def test_short_work_is_not_compiled_for_and_it_says_why():
    choice = choose("auto", **NOTHING)
    assert choice.way == "eager"
    assert choice.why == "not compiled: it would take about 40 s and save about 0.2 s"


def test_compiling_is_paid_back_twice_over():
    enough = MARGIN * 40.0 / SAVED
    assert choose("auto", **{**NOTHING, "work": enough}).way == "build"
    assert choose("auto", **{**NOTHING, "work": 0.99 * enough}).way == "eager"


def test_without_a_compiler_long_work_stays_as_it_is():
    choice = choose("auto", **{**NOTHING, "work": 1e6, "missing": "Triton"})
    assert choice.way == "eager"
    assert "making one needs Triton" in choice.why


def test_max_compiles_whatever_the_work():
    assert choose("max", **NOTHING).way == "build"


def test_another_way_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match="compile is 'fast'; it must be one of auto, off, max"):
        choose("fast", **NOTHING)


def test_auto_keeps_the_number_format_and_max_takes_a_fast_one(monkeypatch):
    monkeypatch.setattr("happyhorse.compile.choose.has_fast_bfloat16", lambda device: True)
    assert spec_of("auto", foal(), CPU).linear == "as-is"
    assert spec_of("max", foal(), CPU).linear == "bf16"
    assert spec_of("max", foal(matmul_dtype="bfloat16"), CPU).linear == "as-is"
    monkeypatch.setattr("happyhorse.compile.choose.has_fast_bfloat16", lambda device: False)
    for held, linear in ((True, "onednn"), (False, "as-is")):
        monkeypatch.setattr("happyhorse.compile.choose.serves", lambda dtype, held=held: held)
        assert spec_of("max", foal(), CPU).linear == linear


def test_the_work_of_a_pass_is_counted_as_its_products():
    config = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=50, gate="none")
    model = Transformer(config)
    latents = Latents(torch.randn(1, 48, 3, 4, 6), torch.randn(1, 9, 64))
    text = model.encode_text(Text(torch.arange(5)[None], torch.tensor([5])))
    counted = {part.part: part.flops for part in count(model, lambda: model(latents, text))}
    products = sum(flops for part, flops in counted.items() if part in ("linears", "attention"))
    assert operations(config, rows=27, text=5) == pytest.approx(products, rel=0.05)


def test_a_clip_of_the_foal_is_no_reason_to_compile():
    work = work_seconds(foal(), rows=616, text=10, passes=8, device=CPU)
    assert 0 < work < 3
    assert choose("auto", packaged=False, missing="", work=work, compiling=compiling_seconds(foal())).way == "eager"


def test_what_is_not_compiled_is_prepared_where_that_is_faster(monkeypatch):
    def small(**changes) -> Transformer:
        return Transformer(foal(hidden=32, head_dim=16, query_heads=2, kv_heads=1, shared=1, **changes))

    monkeypatch.setattr("happyhorse.compile.linears.serves", lambda dtype: dtype == torch.float32)
    spec = prepared(small())
    assert spec is not None and (spec.scope, spec.attention, spec.linear) == ("off", "auto", "onednn")
    assert prepared(small(matmul_dtype="bfloat16")) is None, "bfloat16 is oneDNN's already"
    changed = small()
    use_linears(changed, "bf16")
    assert prepared(changed) is None, "somebody has chosen its numbers"
    monkeypatch.setattr("happyhorse.compile.linears.serves", lambda dtype: False)
    assert prepared(small()) is None
