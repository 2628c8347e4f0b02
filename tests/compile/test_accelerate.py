"""Compiled passes give the plain model's numbers, in one graph for all sizes, or go through the plain model."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch._dynamo.utils import counters

from happyhorse.compile.accelerate import COMPILED, EAGER, Accelerated, JustInTime, accelerate
from happyhorse.compile.spec import CompileSpec
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.sequence import RowCache
from happyhorse.model.transformer import Transformer
from happyhorse.types import ClipShape, Latents, Text

ONE_LAYER = {"shared": 0, "specific_last": 0}
"""Enough where layers of different kinds are not what is tested: tracing takes time."""
SHAPES = [ClipShape(0.5, 64, 96), ClipShape(1.0, 64, 64), ClipShape(0.7, 160, 96), ClipShape(2.0, 96, 96)]
WORDS = (5, 3, 9, 2)
TRACED = JustInTime("eager")
"""Takes the same graphs as are compiled, without generating code for them."""
TOLERANCE = 1e-5
"""Of the largest number: sums are added in another order."""


pytestmark = pytest.mark.timeout(600)  # tracing on a busy machine


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.set_stance("default")
    torch.compiler.reset()


def tiny(**changes) -> Transformer:
    torch.manual_seed(0)
    small = {"hidden": 32, "head_dim": 8, "query_heads": 2, "kv_heads": 1, "shared": 1, "text_vocab": 50}
    model = Transformer(ModelConfig.from_dict({**small, **changes})).eval().requires_grad_(False)
    for head in (model.final_linear_video, model.final_linear_audio):
        torch.nn.init.normal_(head.weight, std=0.1)
    return model


def latents(shape: ClipShape, batch: int = 1) -> Latents:
    generator = torch.Generator().manual_seed(shape.frames)
    video = torch.randn(batch, 48, *shape.latent_size, generator=generator)
    return Latents(video, torch.randn(batch, shape.audio_latents, 64, generator=generator))


def words(model: Transformer, lengths: list[int]) -> Text | RowCache:
    if model.config.text == "features":
        values = torch.randn(len(lengths), max(lengths), model.config.text_channels)
        return Text(values, torch.tensor(lengths))
    return model.encode_text(Text(torch.randint(50, (len(lengths), max(lengths))), torch.tensor(lengths)))


def equal(fast: Accelerated, x: Latents, text: Text | RowCache, times: torch.Tensor | None = None) -> None:
    plain, made = fast.plain(x, text, None, times), fast(x, text, None, times)
    for one, other in ((plain.video, made.video), (plain.audio, made.audio)):
        assert (one - other).abs().max() < TOLERANCE * one.abs().max()


def serve_all(fast: Accelerated, pairs: bool = False) -> None:
    """One size of each kind compiles; after that, no other one may."""
    for number, (shape, length) in enumerate(zip(SHAPES, WORDS, strict=True)):
        lengths = [length, length - 1] if pairs else [length]
        with torch.inference_mode():
            equal(fast, latents(shape, len(lengths)), words(fast.plain, lengths))
        assert (fast.way, fast.why) == (COMPILED, "")
        if number == 0:
            torch.compiler.set_stance("fail_on_recompile")
    assert not counters["graph_break"]


@pytest.mark.parametrize("scope", ["block", "full"])
def test_one_graph_serves_every_size(scope):
    fast = accelerate(tiny(), CompileSpec(scope=scope), TRACED)
    serve_all(fast)
    # The first, the shared and the last layers are of three kinds; a whole step is one graph.
    assert counters["stats"]["unique_graphs"] == {"block": 3, "full": 1}[scope]


@pytest.mark.parametrize(
    "changes",
    [
        {"noisy_input": "added", "audio_patch": 4},
        {"streams": "crossed"},
        {"text": "features", "text_channels": 16, "coordinates": "v2"},
    ],
)
def test_one_graph_serves_every_size_of_other_models(changes):
    serve_all(accelerate(tiny(**ONE_LAYER, **changes), CompileSpec(scope="full"), TRACED))


def test_one_graph_serves_every_size_of_prompts_in_pairs():
    serve_all(accelerate(tiny(**ONE_LAYER), CompileSpec(scope="full"), TRACED), pairs=True)


def test_local_layers_take_a_graph_for_each_number_of_frames():
    fast = accelerate(tiny(**ONE_LAYER, local_layers=(0,), receptive_field=1), CompileSpec(scope="full"), TRACED)
    with torch.inference_mode():
        text = words(fast.plain, [4])
        for height, seconds in itertools.product((64, 96), (0.5, 1.0)):
            equal(fast, latents(ClipShape(seconds, height, 64)), text)
            assert fast.way == COMPILED
    assert counters["stats"]["unique_graphs"] == 2


def test_levels_that_are_told_are_inputs():
    fast = accelerate(tiny(**ONE_LAYER, timestep="embedded"), CompileSpec(scope="full"), TRACED)
    with torch.inference_mode():
        for level in (0.9, 0.4):
            equal(fast, latents(SHAPES[0]), words(fast.plain, [4]), torch.full((1, 2), level))
    assert counters["stats"]["unique_graphs"] == 1


# ------------------------------------------------------------------------------------------------- served eagerly
def eager(fast: Accelerated, x: Latents, text: Text | RowCache, why: str) -> None:
    made, plain = fast(x, text), fast.plain(x, text)
    assert torch.equal(made.video, plain.video) and torch.equal(made.audio, plain.audio)
    assert fast.way == EAGER and why in fast.why


def test_what_there_is_only_one_of_is_served_eagerly():
    fast = accelerate(tiny(), CompileSpec(scope="full"), TRACED)
    still = Latents(torch.randn(1, 48, 1, 4, 4), torch.randn(1, 1, 64))
    with torch.inference_mode():
        eager(fast, still, words(fast.plain, [4]), "only one row of sound")
        eager(fast, latents(SHAPES[0]), words(fast.plain, [1]), "only one word")
    assert not counters["stats"]


def test_gradients_go_through_the_plain_model():
    fast = accelerate(tiny(), CompileSpec(scope="full"), TRACED)
    text = words(fast.plain, [4])
    fast.plain.requires_grad_(True)
    eager(fast, latents(SHAPES[0]), text, "gradients")


def test_other_dtypes_are_served_eagerly():
    fast = accelerate(tiny(), CompileSpec(scope="full"), TRACED)
    x = latents(SHAPES[0]).map(lambda stream: stream.double())
    with torch.inference_mode():
        eager(fast, x, words(fast.plain, [4]), "dtype")


def test_scope_off_is_the_plain_model():
    fast = accelerate(tiny(), CompileSpec(scope="off"))
    with torch.inference_mode():
        eager(fast, latents(SHAPES[0]), words(fast.plain, [4]), "not compiled")


def test_without_a_compiler_models_run_as_they_are(monkeypatch):
    fast = accelerate(tiny(), CompileSpec())
    monkeypatch.setenv("PATH", "")
    with torch.inference_mode():
        eager(fast, latents(SHAPES[0]), words(fast.plain, [4]), "needs a C++ compiler")


# ------------------------------------------------------------------------------------------------------- the spec
def test_an_unknown_scope_is_refused_with_those_that_there_are():
    with pytest.raises(ConfigError, match="scope is 'some'; it must be one of off, block, full"):
        CompileSpec(scope="some")


def test_a_spec_is_read_strictly():
    assert CompileSpec.from_dict({"scope": "full", "linear": "bf16"}) == CompileSpec(scope="full", linear="bf16")
    with pytest.raises(ConfigError, match="has no field speed"):
        CompileSpec.from_dict({"speed": 3})
