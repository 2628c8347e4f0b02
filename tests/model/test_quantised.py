import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.quantised import (
    KINDS,
    QuantisedLinear,
    narrow,
    outer_layers,
    packed,
    product,
    quantise,
    use_dynamic,
    widen,
)
from happyhorse.model.transformer import ALL, EVEN, ODD, BlockLinear, Transformer
from happyhorse.types import Latents, Text

BOTH = pytest.mark.parametrize("kind", KINDS)
SPANS = ((0, 5), (1, 3), (2, 2))


def linear(inputs: int = 20, outputs: int = 34, copies: int = 1, matmul_dtype: str = "float32") -> BlockLinear:
    made = BlockLinear(ModelConfig(matmul_dtype=matmul_dtype), inputs, outputs, copies)
    torch.manual_seed(0)
    nn.init.normal_(made.weight)
    return made


def rows(inputs: int = 20, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 10, inputs, generator=torch.Generator().manual_seed(1))


def model(seed: int = 0, **changes) -> Transformer:
    config = {"hidden": 48, "head_dim": 16, "query_heads": 3, "kv_heads": 1, "shared": 2, "text": "features"}
    torch.manual_seed(seed)
    made = Transformer(ModelConfig(**{**config, "text_channels": 20, "coordinates": "v2", **changes})).eval()
    for head in (made.final_linear_video, made.final_linear_audio):
        nn.init.normal_(head.weight)
    return made


def given() -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(1, 48, 2, 4, 4, generator=generator), torch.randn(1, 5, 64, generator=generator))
    return latents, Text(torch.randn(1, 3, 20, generator=generator), torch.tensor([3]))


# ----------------------------------------------------------------------------------------------------------- the maths
def test_int8_is_within_half_a_step_and_reaches_127():
    values = rows() * 10 ** torch.linspace(-6, 4, 10)[:, None]
    numbers, scales = narrow(values, KINDS["int8"])
    assert numbers.dtype == torch.int8 and scales.shape == (2, 10)
    assert (numbers.abs().amax(dim=-1) == 127).all()
    torch.testing.assert_close(scales, values.abs().amax(dim=-1) / 127)
    assert ((widen(numbers, scales) - values).abs() <= 0.5001 * scales[..., None]).all()


def test_fp8_keeps_four_significant_bits():
    values = rows()
    numbers, scales = narrow(values, KINDS["fp8"])
    assert numbers.dtype == torch.float8_e4m3fn and (numbers.float().abs().amax(dim=-1) == 448).all()
    error = (widen(numbers, scales) - values).abs()
    smallest_normal = 2.0**-6 * scales[..., None]
    assert (error <= torch.maximum(values.abs(), smallest_normal) * (2.0**-4 + 1e-6)).all()


@BOTH
def test_rows_of_zeros_and_of_one_number(kind):
    numbers, scales = narrow(torch.tensor([[0.0, 0.0], [3.0, -3.0], [1e-30, 0.0]]), KINDS[kind])
    assert torch.equal(widen(numbers, scales)[:2], torch.tensor([[0.0, 0.0], [3.0, -3.0]]))
    assert scales.isfinite().all() and (scales > 1e-20).all()


@BOTH
def test_packed_weights_have_zeros_behind(kind):
    weight = torch.randn(3, 34, 20, dtype=torch.bfloat16)
    numbers, scales = packed(weight, KINDS[kind])
    assert numbers.shape == (3, 64, 32) and scales.shape == (3, 64)
    assert not numbers[:, 34:].float().any() and not numbers[:, :, 20:].float().any() and not scales[:, 34:].any()
    expected = narrow(weight, KINDS[kind])
    assert torch.equal(numbers[:, :34, :20].float(), expected[0].float()) and torch.equal(scales[:, :34], expected[1])


def test_packing_in_parts_gives_the_same(monkeypatch):
    weight = torch.randn(2, 34, 20)
    whole = packed(weight, KINDS["int8"])
    monkeypatch.setattr("happyhorse.model.quantised._AT_ONCE", 5)
    parts = packed(weight, KINDS["int8"])
    assert torch.equal(whole[0], parts[0]) and torch.equal(whole[1], parts[1])


def test_sums_of_int8_products_are_exact():
    a, b = (torch.randint(-127, 128, (32, 14_000), dtype=torch.int8) for _ in range(2))
    assert torch.equal(product(a, b), (a.long() @ b.long().t()).float())


@BOTH
def test_every_second_row_can_be_multiplied_alone(kind):
    a, b = (narrow(torch.randn(64, 32), KINDS[kind])[0] for _ in range(2))
    torch.testing.assert_close(product(a, b[1::2]), product(a, b)[:, 1::2])


# ---------------------------------------------------------------------------------------------------------- the module
def expected(block: BlockLinear, x: torch.Tensor, kind: str, outputs: slice, dynamic: bool) -> torch.Tensor:
    """The same product with float32 copies of what is kept in bytes."""
    weight = widen(*narrow(block.weight.detach().view(block.copies, -1, block.inputs), KINDS[kind]))[:, outputs]
    x = widen(*narrow(x, KINDS[kind])) if dynamic else x
    if block.copies == 1:
        return F.linear(x, weight[0])
    parts = x.split([count for _, count in SPANS], dim=1)
    return torch.cat([F.linear(part, weight[modality]) for part, (modality, _) in zip(parts, SPANS, strict=True)], 1)


@BOTH
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("outputs", [ALL, EVEN, ODD])
@pytest.mark.parametrize("copies", [1, 3])
@torch.no_grad()
def test_products_are_those_of_the_quantised_numbers(kind, dynamic, outputs, copies):
    block, x = linear(copies=copies), rows()
    made = QuantisedLinear(block, KINDS[kind], dynamic)(x, SPANS, outputs)
    assert made.dtype == torch.float32 and made.shape == block(x, SPANS, outputs).shape
    torch.testing.assert_close(made, expected(block, x, kind, outputs, dynamic), atol=1e-5, rtol=1e-5)


@BOTH
@torch.no_grad()
def test_bfloat16_products_lose_nothing_of_the_weights(kind):
    block, x = linear(64, 32, matmul_dtype="bfloat16"), rows(64).bfloat16().float()
    made = QuantisedLinear(block, KINDS[kind])(x, SPANS)
    exact = expected(block, x, kind, ALL, False)
    assert (made - exact).norm() / exact.norm() < 2.0**-8


@BOTH
@torch.no_grad()
def test_rows_of_a_dynamic_product_do_not_see_each_other(kind):
    made, x = QuantisedLinear(linear(), KINDS[kind], dynamic=True), rows()
    louder = x.clone()
    louder[0, 3] *= 1000
    assert torch.equal(made(x, SPANS)[0, :3], made(louder, SPANS)[0, :3])
    torch.testing.assert_close(made(x[:1, :1], ((0, 1),)), made(x, SPANS)[:1, :1])


# ----------------------------------------------------------------------------------------------------- into a model
def kept_in_bytes(transformer: Transformer) -> set[int]:
    return {
        index
        for index, layer in enumerate(transformer.block.layers)
        if any(isinstance(module, QuantisedLinear) for module in layer.modules())
    }


@BOTH
def test_only_block_matrices_change(kind):
    plain, made = model(), model()
    assert len(quantise(made, kind)) == 16 and not any(isinstance(m, BlockLinear) for m in made.modules())
    before, after = plain.state_dict(), made.state_dict()
    matrices = [name for name in before if name.startswith("block") and before[name].ndim == 2]
    assert len(matrices) == 16
    scales = {name.removesuffix("weight") + "scale" for name in matrices}
    assert set(after) == set(before) | scales
    assert all(torch.equal(before[name], after[name]) for name in set(before) - set(matrices))
    assert all(after[name].dtype == KINDS[kind].dtype for name in matrices)
    assert sum(parameter.numel() for parameter in made.parameters()) < sum(p.numel() for p in plain.parameters())


@BOTH
@pytest.mark.parametrize("dynamic", [False, True])
@torch.no_grad()
def test_the_velocity_stays_near(kind, dynamic):
    plain, made = model(), model()
    quantise(made, kind, dynamic, skip=())
    exact, near = plain(*given()), made(*given())
    error = (near.video - exact.video).norm() / exact.video.norm()
    assert 0 < error < (0.03 if kind == "int8" else 0.1)


def test_outer_layers_are_left_alone_if_dynamic_unless_told():
    made = model()
    assert outer_layers(made.config) == (0, 3)
    assert {module.dynamic for module in quantise(made, "int8", dynamic=True)} == {True}
    assert kept_in_bytes(made) == {1, 2}
    for skip, dynamic, left in ((None, False, {0, 1, 2, 3}), ((2,), False, {0, 1, 3}), ((), True, {0, 1, 2, 3})):
        made = model()
        quantise(made, "fp8", dynamic, skip)
        assert kept_in_bytes(made) == left


def test_activations_can_be_quantised_later():
    made = model()
    quantise(made, "int8")
    use_dynamic(made)
    quantised = [module for module in made.modules() if isinstance(module, QuantisedLinear)]
    assert [module.dynamic for module in quantised] == 4 * [False] + 8 * [True] + 4 * [False]
    use_dynamic(made, skip=())
    assert all(module.dynamic for module in quantised)


def test_what_cannot_be_quantised_is_said():
    made = model()
    with pytest.raises(ConfigError, match="'int4' is unknown; it must be one of int8, fp8"):
        quantise(made, "int4")
    with pytest.raises(ConfigError, match=r"layers \[4\] do not exist; the model has layers 0 to 3"):
        quantise(made, "int8", skip=(1, 4))
    with pytest.raises(ConfigError, match="no quantised matrices"):
        use_dynamic(made)
    quantise(made, "int8")
    with pytest.raises(ConfigError, match="quantised already"):
        quantise(made, "fp8")


def test_each_weight_is_let_go_before_the_next_is_quantised(monkeypatch):
    made, alive = model(), []
    seen = [weakref.ref(module.weight) for module in made.modules() if isinstance(module, BlockLinear)]

    def counted(weight, kind):
        alive.append(sum(reference() is not None for reference in seen))
        return packed(weight, kind)

    monkeypatch.setattr("happyhorse.model.quantised.packed", counted)
    quantise(made, "int8")
    assert alive == list(range(16, 0, -1))


@BOTH
@torch.no_grad()
def test_a_model_without_numbers_takes_those_of_another(kind):
    made = model()
    quantise(made, kind)
    with torch.device("meta"):
        empty = Transformer(made.config)
    quantise(empty, kind)
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(made.state_dict(), assign=True)
    ours, theirs = made(*given()), empty.eval()(*given())
    assert torch.equal(ours.video, theirs.video) and torch.equal(ours.audio, theirs.audio)


@pytest.mark.parametrize(("kind", "dynamic"), [("int8", True), ("fp8", False)])
@torch.no_grad()
def test_compiles_as_one_graph(kind, dynamic):
    made, (latents, text) = model(), given()
    quantise(made, kind, dynamic, skip=())
    layout = made.layout(latents, text)
    compiled = torch.compile(made, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(latents, text, layout).video, made(latents, text, layout).video)


# ------------------------------------------------------------------------------------------------------- fast kernels
@BOTH
@torch.no_grad()
def test_kernels_get_rows_and_columns_in_whole_groups(kind, monkeypatch):
    made, seen = model(), []
    quantise(made, kind, dynamic=True, skip=())

    def checked(numbers, weight):
        seen.append((*numbers.shape, *weight.shape, *weight.stride()[:1]))
        return product(numbers, weight)

    monkeypatch.setattr("happyhorse.model.quantised.product", checked)
    made(*given())
    assert len(seen) > 16 and all(size % 16 == 0 for sizes in seen for size in sizes)
    assert all(sizes[0] >= 32 for sizes in seen), "int8 products on GPUs need more than 16 rows"


@torch.no_grad()
def test_the_fp8_kernel_gives_the_numbers_of_the_plain_path(monkeypatch):
    made, x = QuantisedLinear(linear(), KINDS["fp8"], dynamic=True), rows()
    plain = [made(x, SPANS, outputs) for outputs in (ALL, EVEN, ODD)]
    monkeypatch.setattr("happyhorse.model.quantised.multiplies_fp8", lambda _: True)
    try:
        fast = [made(x, SPANS, outputs) for outputs in (ALL, EVEN, ODD)]
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"torch._scaled_mm does not run here: {str(error).splitlines()[0]}")
    for ours, theirs in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
