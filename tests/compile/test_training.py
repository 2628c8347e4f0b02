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


@pytest.fixture(autouse=True)
def forget():
    """What other tests compiled is not counted here."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def train(state: TrainState, steps: int) -> list[float]:
    """Losses of the first steps of the tiny recipe, whose stages differ in size and number of samples."""
    config, losses = foal_tiny(), []
    for step in [0, 1, *range(4, 2 + steps)]:
        torch.manual_seed(step)
        shape, batch = shape_at(config, step)
        example = draw_example(random_latents(config, shape, batch, torch.device("cpu")), config, step)
        losses.append(float(optimise(state, example, random_text(config, batch, torch.device("cpu")), config)[1]))
    return losses


def test_a_compiled_run_loses_what_the_plain_one_does_and_compiles_each_kind_of_layer_once():
    plain, compiled = (make_state(foal_tiny(), torch.device("cpu"), torch.float32) for _ in range(2))
    assert isinstance(compiled.model, Transformer)
    compile_for_training(compiled.model, backend="aot_eager")
    expected, losses = train(plain, 5), train(compiled, 5)
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0)
    assert len(set(losses)) == 5
    kinds, passes = 3, 2  # first, shared, last layers; prompt and clip
    assert counters["stats"]["unique_graphs"] == kinds * passes, "sizes and batches do not compile anew"
    assert not counters["graph_break"]


@pytest.mark.skipif(not can_compile(torch.device("cpu")), reason="needs a C++ compiler")
@pytest.mark.parametrize("recompute", ["none", "cheap"])
def test_generated_code_gives_the_gradients_of_the_plain_model(recompute):
    found, expected = (gradients(compiled) for compiled in (recompute, None))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert counters["stats"]["unique_graphs"] == 1


def gradients(recompute: str | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = Transformer(ONE_KIND)
    for head in (model.final_linear_video, model.final_linear_audio):
        nn.init.normal_(head.weight, std=0.1)
    if recompute:
        compile_for_training(model, recompute=recompute)
    config = foal_tiny().replace(model=ONE_KIND)
    velocity = model(
        random_latents(config, config.stages[0].shapes[0], 2, torch.device("cpu")),
        random_text(config, 2, torch.device("cpu")),
    )
    (velocity.video.square().mean() + velocity.audio.square().mean()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


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
