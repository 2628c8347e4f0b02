"""Compiled training steps are the plain ones: by capture alone where code need not be generated, which is slow."""

import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from happyhorse.compile.machine import can_compile
from happyhorse.compile.training import compile_for_training
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.foal import foal_tiny
from happyhorse.training.budget import random_latents, random_text
from happyhorse.training.build import make_state
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.loop import draw_example, optimise, shape_at

ONE_KIND = ModelConfig(
    hidden=32, head_dim=8, query_heads=2, kv_heads=1, specific_first=0, shared=2, specific_last=0, gelu7_layers=(),
    text="features", text_channels=8,
)  # fmt: skip
"""All layers are alike and text has no pass of its own: one graph."""
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def forget():
    """What other tests compiled is not counted here."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def tiny(model: ModelConfig | None = None) -> TrainState:
    """The tiny recipe's state at step 0, with a model of its own if one is given."""
    config = foal_tiny() if model is None else foal_tiny().replace(model=model)
    state = make_state(config, CPU, torch.float32)
    assert isinstance(state.model, Transformer)
    for head in (state.model.final_linear_video, state.model.final_linear_audio):
        nn.init.normal_(head.weight, std=0.1, generator=torch.Generator().manual_seed(1))
    return state


def train(state: TrainState) -> list[float]:
    """Losses of steps of the tiny recipe, from both of its stages: they differ in size and number of samples."""
    assert isinstance(state.model, Transformer)
    config, losses = foal_tiny().replace(model=state.model.config), []
    for step in (0, 1, 4, 5, 6):
        torch.manual_seed(step)
        shape, batch = shape_at(config, step)
        example = draw_example(random_latents(config, shape, batch, CPU), config, step)
        losses.append(float(optimise(state, example, random_text(config, batch, CPU), config)[1]))
    return losses


def test_every_kind_of_layer_is_captured_once_for_all_sizes():
    plain, compiled = tiny(), tiny()
    assert isinstance(compiled.model, Transformer)
    compile_for_training(compiled.model, backend="eager")
    expected, losses = train(plain), train(compiled)
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=0)
    kinds, passes = 3, 2  # first, shared, last layers; prompt and clip
    assert counters["stats"]["unique_graphs"] == kinds * passes, "sizes and batches do not compile anew"
    assert not counters["graph_break"]


@pytest.mark.skipif(not can_compile(CPU), reason="needs a C++ compiler")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("recompute", "backend"), [("none", "inductor"), ("cheap", "aot_eager"), ("full", "aot_eager")]
)
def test_a_compiled_run_loses_what_the_plain_one_does(recompute, backend):
    plain, compiled = tiny(ONE_KIND), tiny(ONE_KIND)
    assert isinstance(compiled.model, Transformer)
    compile_for_training(compiled.model, recompute=recompute, backend=backend)
    found, expected = gradients(compiled.model), gradients(plain.model)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)
    torch.testing.assert_close(train(compiled), train(plain), rtol=1e-4, atol=0)
    assert counters["stats"]["unique_graphs"] == 1


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    config = foal_tiny().replace(model=ONE_KIND)
    shape = config.stages[1].shapes[1]
    velocity = model(random_latents(config, shape, 2, CPU), random_text(config, 2, CPU))
    (velocity.video.square().mean() + velocity.audio.square().mean()).backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad(set_to_none=True)
    return found


def test_names_of_parameters_stay():
    plain, compiled = Transformer(ONE_KIND), Transformer(ONE_KIND)
    compile_for_training(compiled, recompute="cheap", backend="aot_eager")
    assert list(compiled.state_dict()) == list(plain.state_dict())


def test_an_unknown_recomputation_is_refused():
    with pytest.raises(ConfigError, match="recompute"):
        compile_for_training(Transformer(ONE_KIND), recompute="some")


@pytest.mark.timeout(300)
def test_two_processes_with_sharded_layers_lose_what_one_does(tmp_path):
    """FSDP2 on a CPU: each process holds half of every weight and trains on half of the batch."""
    script = Path(__file__).with_name("sharded.py")
    here, meeting = runpy.run_path(str(script)), str(tmp_path / "meeting")
    other = subprocess.Popen([sys.executable, "-W", "ignore", script, meeting, "1"], stdout=subprocess.PIPE, text=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nobody writes into it
        first = here["sharded_losses"](meeting, 0)
    second = [float(word) for word in other.communicate()[0].split()]
    together = [sum(pair) / 2 for pair in zip(first, second, strict=True)]
    torch.testing.assert_close(together, here["plain_losses"](), rtol=1e-5, atol=0)
