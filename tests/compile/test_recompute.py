"""Recomputation: the same gradients from less memory, and a budget that says how much less."""

import contextlib
import copy

import pytest
import torch
from torch import nn

from happyhorse.compile.activations import activation_costs, layer_cost
from happyhorse.compile.recompute import MODES, Cost, is_costly, plan, recompute_layers
from happyhorse.config import ModelConfig, magihuman_15b
from happyhorse.errors import ConfigError, DeviceMemoryError
from happyhorse.memory.trace import LiveBytes
from happyhorse.model.sequence import Layout
from happyhorse.model.transformer import Layer, Transformer
from happyhorse.recipes.foal import foal_tiny
from happyhorse.types import ClipShape, Latents, Text

SMALL = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=300)


def small_model(**changes) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(SMALL.replace(**changes))
    for head in (model.final_linear_video, model.final_linear_audio):
        nn.init.normal_(head.weight, std=0.1)
    return model


def loss(model: Transformer) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(2, 48, 3, 4, 4, generator=generator), torch.randn(2, 9, 64, generator=generator))
    text = Text(torch.randint(3, 200, (2, 6), generator=generator), torch.tensor([6, 4]))
    found = model(latents, text)
    return found.video.square().mean() + found.audio.square().mean()


def gradients(model: Transformer) -> dict[str, torch.Tensor]:
    loss(model).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


# ----------------------------------------------------------------------------------------------------------- the layers
@pytest.mark.parametrize("mode", ["cheap", "full"])
@pytest.mark.parametrize("changes", [{"matmul_dtype": "bfloat16"}, {"attention": "sigmoid", "local_layers": (1,)}])
def test_gradients_are_those_of_the_plain_model(mode, changes):
    """Bit by bit: the same operations on the same numbers."""
    model = small_model(**changes)
    recompute_layers(model.block.layers, mode)
    found, expected = gradients(model), gradients(small_model(**changes))
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_layers_can_have_modes_of_their_own_and_names_stay():
    model = small_model()
    names = list(model.state_dict())
    recompute_layers(model.block.layers, ("full", "none", "cheap"))
    assert list(model.state_dict()) == names
    assert torch.equal(loss(model), loss(small_model()))


def test_less_waits_for_the_backward_pass_in_fact():
    kept = {}
    for mode in MODES:
        model = small_model(matmul_dtype="bfloat16")
        recompute_layers(model.block.layers, mode)
        with LiveBytes() as alive:
            alive.ignore(*model.parameters())
            value = loss(model)
            kept[mode] = alive.live
        assert value.requires_grad
    assert kept["full"] < 0.6 * kept["cheap"] < 0.4 * kept["none"]


def test_autograd_itself_saves_less():
    """Of what autograd saves by itself, nothing is left inside of layers that are recomputed."""
    saved = {}
    for mode in ("none", "full"):
        model = small_model()
        recompute_layers(model.block.layers, mode)
        sizes: dict[int, int] = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = loss(model)
        saved[mode] = sum(sizes.values())
        del value
    assert saved["full"] < 0.5 * saved["none"]


def test_without_gradients_nothing_changes():
    model = small_model()
    expected = loss(model).detach()
    recompute_layers(model.block.layers, "cheap")
    with torch.no_grad():
        assert torch.equal(loss(model), expected)


def test_a_copy_computes_with_its_own_weights():
    model = small_model()
    recompute_layers(model.block.layers, "cheap")
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.block.parameters():
            parameter.add_(0.1)
    assert torch.equal(loss(model), loss(small_model()))
    assert not torch.equal(loss(twin), loss(model))


class Switched(nn.Module):
    """A layer whose answer depends on more than its inputs and weights."""

    power = 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x**self.power).sin()


@pytest.mark.parametrize("mode", ["cheap", "full"])
def test_a_layer_finds_its_surroundings_again_in_the_backward_pass(mode):
    layer, x = Switched(), torch.tensor([0.5], requires_grad=True)

    def surroundings():
        power = layer.power

        @contextlib.contextmanager
        def again():
            layer.power, was = power, layer.power
            try:
                yield  # left by an exception as soon as nothing more is needed
            finally:
                layer.power = was

        return again()

    recompute_layers([layer], mode, surroundings)
    layer.power = 3
    value = layer(x)
    layer.power = 1
    value.backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, 3 * x.detach() ** 2 * (x.detach() ** 3).cos())
    assert layer.power == 1


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match=r'recompute is "some"; it must be one of none, cheap, full'):
        recompute_layers([nn.Identity()], "some")


def test_recipes_know_the_modes():
    for mode in MODES:
        assert foal_tiny().replace(recompute=mode).fingerprint == foal_tiny().fingerprint
    with pytest.raises(ConfigError, match="recompute"):
        foal_tiny().replace(recompute="some")


# ------------------------------------------------------------------------------------------------------ what is costly
def test_products_with_weights_and_fused_attention_are_costly_and_sums_of_numbers_are_not():
    aten, x = torch.ops.aten, torch.empty(4, 4)
    assert is_costly(aten.mm.default, (x, x))
    assert is_costly(aten._scaled_dot_product_flash_attention.default, (x, x, x))
    assert not is_costly(aten.mul.Tensor, (x, x))


def test_scores_are_made_again_and_sums_of_values_are_kept():
    q, keys, scores, values = (torch.empty(2, *shape) for shape in ((100, 8), (8, 70), (100, 70), (70, 9)))
    assert not is_costly(torch.ops.aten.bmm.default, (q, keys))
    assert is_costly(torch.ops.aten.bmm.default, (scores, values))


# ---------------------------------------------------------------------------------------------------------------- costs
def test_a_dry_run_counts_what_a_real_one_keeps():
    shape = ClipShape(0.5, 32, 32)
    dry = activation_costs(SMALL.replace(text="features", text_channels=8), shape, batch=2, text_rows=5)
    layer = Layer(SMALL, 1)
    rows = shape.tokens + 5

    tables = torch.ones(1, rows, 1, 3 * SMALL.bands)
    layout = Layout(((0, rows),), tables, tables.clone(), frames=shape.latent_frames)
    hidden = torch.randn(2, rows, 32, requires_grad=True)
    for mode in MODES:
        assert layer_cost(layer, mode, (hidden, layout, None)) == dry[1][mode]


def test_the_published_geometry_is_counted_without_holding_it():
    config = magihuman_15b(specific_first=0, shared=4, specific_last=0, gelu7_layers=())
    costs = activation_costs(config, ClipShape(5, 256, 448), batch=1, text_rows=32)
    assert len(costs) == 4 and costs[0] is costs[3], "alike layers are counted once"
    for layer in costs:
        assert layer["full"].kept < 0.5 * layer["cheap"].kept < 0.25 * layer["none"].kept
        assert layer["none"].flops == layer["cheap"].flops < layer["full"].flops < 1.4 * layer["none"].flops


# --------------------------------------------------------------------------------------------------------------- a plan
LAYER = {"none": Cost(100, 1000), "cheap": Cost(40, 1010), "full": Cost(10, 1300)}


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (300, ("none", "none", "none")),
        (299, ("cheap", "none", "none")),
        (200, ("cheap", "cheap", "none")),
        (120, ("cheap", "cheap", "cheap")),
        (90, ("full", "cheap", "cheap")),
        (30, ("full", "full", "full")),
    ],
)
def test_a_plan_saves_the_cheapest_bytes_first(budget, expected):
    assert plan([LAYER] * 3, budget) == expected


def test_a_plan_prefers_the_layer_that_loses_least():
    worse = {"none": Cost(100, 1000), "full": Cost(10, 1500)}
    assert plan([worse, LAYER], 150) == ("none", "cheap")
    assert plan([worse, LAYER], 50) == ("full", "cheap")


def test_a_budget_that_nothing_fits_is_refused():
    with pytest.raises(DeviceMemoryError, match="still keep 30 bytes and only 29 are free"):
        plan([LAYER] * 3, 29)
