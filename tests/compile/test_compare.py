import pytest
import torch

from happyhorse.compile.compare import EAGER, Case, Comparison, Variant, difference, variants
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CPU = torch.device("cpu")


class Rounded(torch.nn.Module):
    """Stands in for a compiled model."""

    way, why = "compiled", ""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.encode_text, self.layout, self.forward = model.encode_text, model.layout, model.forward


def build(variant: Variant, model: Transformer) -> torch.nn.Module:
    """Rounds weights where the real one compiles, and has no eight bits."""
    if variant.name == EAGER:
        return model
    if variant.spec.linear == "int8":
        raise MissingToolError("this machine multiplies no bytes")
    if variant.spec.linear == "bf16":
        for layer in model.block.layers:
            weight = layer.attention.linear_qkv.weight
            weight.data = weight.data.bfloat16().float()
    made = Rounded(model)
    if variant.packaged:
        made.way, made.why = "eager", "no package is at hand for it"
    return made


@pytest.fixture
def comparison(monkeypatch) -> Comparison:
    monkeypatch.setattr(Variant, "build", build)
    model = Transformer(ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=32)).eval()
    latents = Latents(torch.randn(2, 48, 3, 4, 4), torch.randn(2, 9, 64))
    text = Text(torch.ones(2, 5, dtype=torch.int64), torch.tensor([5, 3]))
    return Comparison(model, Case(latents, text), CPU)


def test_variants_differ_by_their_spec_and_the_plain_one_is_first():
    names = [variant.name for variant in variants(CPU)]
    assert names[0] == EAGER
    assert len(set(variants(CPU))) == len(names)
    assert "fp8" not in names
    assert "fp8" in [variant.name for variant in variants(torch.device("cuda"))]


def test_only_some_ways_and_no_unknown_one():
    assert [variant.name for variant in variants(CPU, ["int8", "block"])] == [EAGER, "block", "int8"]
    with pytest.raises(ConfigError, match="way 'fp8' is unknown here; the ways are eager, attention, block"):
        variants(CPU, ["fp8"])


def test_rows_hold_times_errors_and_refusals(comparison):
    for variant in variants(CPU):
        comparison.prepare(variant)
    comparison.run(3)
    rows = {row.name: row for row in comparison.rows(variants(CPU))}
    assert list(rows) == [variant.name for variant in variants(CPU)]
    assert rows[EAGER].error == 0
    assert rows[EAGER].speedup == 1.0
    assert 0 < rows["bf16"].error < 0.1
    assert rows["block"].error == 0
    assert rows["block"].wall > 0
    assert rows["int8"].refused == "this machine multiplies no bytes"
    assert rows["int8"].wall is None
    assert rows["package"].refused == "runs as the plain model: no package is at hand for it"


def test_a_variant_does_not_change_the_model_of_the_others(comparison):
    before = {name: value.clone() for name, value in comparison.model.state_dict().items()}
    for variant in variants(CPU):
        comparison.prepare(variant)
    assert all(torch.equal(value, before[name]) for name, value in comparison.model.state_dict().items())


def test_there_are_rows_before_the_first_round(comparison):
    comparison.prepare(variants(CPU)[0])
    (row,) = comparison.rows(variants(CPU))
    assert (row.name, row.wall, row.speedup) == (EAGER, None, None)
    assert row.first > 0


def test_differences_are_in_units_of_the_largest_velocity_of_the_worse_stream():
    plain = Latents(torch.tensor([4.0, -8.0]), torch.tensor([1.0, 2.0]))
    other = Latents(torch.tensor([4.0, -7.0]), torch.tensor([1.0, 1.5]))
    assert difference(other, plain) == 0.25


def test_a_package_that_is_not_there_is_no_contender(monkeypatch, tmp_path):
    """What would run as the plain model must not stand in the table under another name."""
    monkeypatch.setenv("HAPPYHORSE_COMPILED", str(tmp_path))
    model = Transformer(ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=32)).eval()
    latents = Latents(torch.randn(1, 48, 3, 4, 4), torch.randn(1, 9, 64))
    found = Comparison(model, Case(latents, Text(torch.ones(1, 5, dtype=torch.int64), torch.tensor([5]))), CPU)
    ways = variants(CPU, ["package"])
    for variant in ways:
        found.prepare(variant)
    plain, package = found.rows(ways)
    assert plain.error == 0
    assert "no package" in package.refused
