import pytest
import torch
from torch import nn

from happyhorse.compile import linears
from happyhorse.compile.linears import KINDS, PreparedLinear, choose, use_linears
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.quantised import QuantisedLinear
from happyhorse.model.transformer import ALL, EVEN, ODD, BlockLinear, Transformer
from happyhorse.types import Latents, Text

SPANS = ((0, 5), (1, 3), (2, 2))
LIMITS = {"as-is": 3e-6, "onednn": 3e-6, "bf16": 0.02, "int8": 0.07, "fp8": 0.2}
"""Relative errors of the velocity over all values; that of a trained model is a quarter of those of random weights."""


def linear(copies: int = 1) -> BlockLinear:
    made = BlockLinear(ModelConfig(), 20, 34, copies)
    nn.init.normal_(made.weight)
    return made


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_products_are_those_of_the_plain_matrix(batch, copies, dtype, limit):
    block, x = linear(copies), torch.randn(batch, 10, 20)
    whole, halves = PreparedLinear(block, dtype), PreparedLinear(block, dtype, halves=True)
    for made, outputs in ((whole, ALL), (halves, EVEN), (halves, ODD)):
        expected = block(x, SPANS, outputs)
        ours = made(x, SPANS, outputs)
        assert ours.dtype == torch.float32 and ours.shape == expected.shape
        assert (ours - expected).norm() / expected.norm() < limit


@torch.no_grad()
def test_rows_may_lie_apart():
    block, wide = linear(), torch.randn(1, 10, 40)
    torch.testing.assert_close(
        PreparedLinear(block, torch.float32)(wide[..., ::2], SPANS), block(wide[..., ::2], SPANS)
    )


@pytest.mark.parametrize(("kind", "limit"), [("onednn", 3e-6), ("bf16", 0.02)])
@torch.no_grad()
def test_between_an_mlps_matrices_rows_are_whole_lines_of_memory(kind, limit):
    narrow = {"hidden": 32, "query_heads": 2}
    plain, made = model(**narrow), model(**narrow)
    use_linears(made, kind)
    mlp = made.block.layers[1].mlp
    assert plain.config.swiglu7_width == 84
    assert mlp.up_gate_proj.weights.shape == (2, 1, 128, 32) and mlp.down_proj.weights.shape == (1, 1, 32, 128)
    exact, ours = plain(*given()).video, made(*given()).video
    assert (ours - exact).norm() / exact.norm() < limit


def test_halves_and_the_whole_are_not_mixed_up():
    with pytest.raises(AssertionError, match="prepared for the other way"):
        PreparedLinear(linear(), torch.float32)(torch.ones(1, 10, 20), SPANS, EVEN)


# ------------------------------------------------------------------------------------------------------- into a model
def model(**changes) -> Transformer:
    config = {"hidden": 48, "head_dim": 16, "query_heads": 3, "kv_heads": 1, "shared": 2, "text_vocab": 20}
    torch.manual_seed(0)
    made = Transformer(ModelConfig(**{**config, **changes})).eval()
    for head in (made.final_linear_video, made.final_linear_audio):
        nn.init.normal_(head.weight)
    return made


def given() -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(2, 48, 2, 4, 4, generator=generator), torch.randn(2, 5, 64, generator=generator))
    return latents, Text(torch.arange(8).view(2, 4), torch.tensor([4, 3]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["dit_t2v", "dit_sr1080_local"])
@torch.no_grad()
def test_published_velocity(golden, name, kind):
    case = golden(name)
    made, count = golden.published(case), case.settings["n_text"]
    use_linears(made, kind)
    text = Text(case["in.txt_feat"][:, :count], torch.tensor([count]))
    velocity = made(Latents(case["in.x_t"], case["in.audio_x_t"]), text)
    errors = case.relative_l2("out.video", velocity.video), case.relative_l2("out.audio", velocity.audio)
    assert max(errors) < LIMITS[kind]


@pytest.mark.parametrize("kind", ["onednn", "bf16", "int8", "fp8"])
@torch.no_grad()
def test_the_velocity_stays_near(kind):
    plain, made = model(), model()
    use_linears(made, kind)
    exact, near = plain(*given()), made(*given())
    error = (near.video - exact.video).norm() / exact.video.norm()
    assert error < LIMITS[kind] and (kind == "onednn" or error > 0)


@torch.no_grad()
def test_bfloat16_is_what_a_model_of_that_dtype_computes():
    plain, made = model(matmul_dtype="bfloat16"), model()
    use_linears(made, "bf16")
    torch.testing.assert_close(made(*given()).video, plain(*given()).video, atol=2e-3, rtol=2e-3)


def test_layers_can_be_left_alone():
    made = model()
    use_linears(made, "bf16", skip=(0, 3))
    kinds = [{type(m) for m in layer.modules()} & {BlockLinear, PreparedLinear} for layer in made.block.layers]
    assert kinds == [{BlockLinear}, {PreparedLinear}, {PreparedLinear}, {BlockLinear}]
    made = model()
    use_linears(made, "int8")
    assert sum(isinstance(m, QuantisedLinear) for m in made.modules()) == 8, "outer layers bear rounding worst"


def test_as_is_changes_nothing():
    made = model()
    before = list(made.modules())
    use_linears(made, "as-is")
    assert list(made.modules()) == before


def test_a_file_of_other_rows_cannot_be_mistaken_for_weights():
    made = model()
    use_linears(made, "onednn")
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model().load_state_dict(made.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_compiles_as_one_graph(dtype):
    made, x = PreparedLinear(linear(copies=3), dtype), torch.randn(1, 10, 20)
    compiled = torch.compile(made, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, SPANS), made(x, SPANS))


def test_what_cannot_be_had_is_said():
    with pytest.raises(ConfigError, match="'int4' is unknown; it must be one of as-is, onednn, bf16, int8, fp8"):
        use_linears(model(), "int4")
    made = model()
    use_linears(made, "int8", skip=())
    with pytest.raises(ConfigError, match="needs a model with its full weights"):
        use_linears(made, "bf16")
    made = model()
    use_linears(made, "bf16")
    with pytest.raises(ConfigError, match="'int8' needs a model with its full weights"):
        use_linears(made, "int8")


def test_the_library_is_chosen_where_there_is_one(monkeypatch):
    for there, kind in ((True, "onednn"), (False, "as-is")):
        monkeypatch.setattr(linears, "serves", lambda _, there=there: there)
        assert choose(model()) == kind
        assert choose(model(matmul_dtype="bfloat16")) == "as-is"


def test_outer_layers_of_eight_bits_go_through_the_library_too(monkeypatch):
    for there, outer in ((True, PreparedLinear), (False, BlockLinear)):
        monkeypatch.setattr(linears, "serves", lambda _, there=there: there)
        made = model()
        use_linears(made, "int8")
        kinds = [type(made.get_submodule(f"block.layers.{index}.attention.linear_qkv")) for index in range(4)]
        assert kinds == [outer, QuantisedLinear, QuantisedLinear, outer]
