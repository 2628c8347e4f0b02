"""A pipeline's model is compiled where that pays; recipes say so, and without it all stays as it is."""

import numpy as np
import pytest
import torch

from happyhorse.compile import accelerate
from happyhorse.compile.choose import Choice
from happyhorse.compile.linears import use_linears
from happyhorse.compile.products import serves
from happyhorse.compile.spec import CompileSpec
from happyhorse.errors import CompileError, ConfigError
from happyhorse.sampling import compiled
from happyhorse.sampling.compiled import Compiling, sharing
from happyhorse.sampling.pipeline import Pipeline, load_parts
from happyhorse.weights.registry import resolve

BALL = "a red ball bounces on wood"
CPU = torch.device("cpu")


def clip(model, asked, told=None, **options):
    parts = load_parts(resolve(model), CPU)
    compiling = Compiling(parts.model, asked, tell=None if told is None else told.append)
    return Pipeline(parts, CPU, compiling)(BALL, seed=4, size=(64, 64), guidance=1.0, **options)


class AsTheyAre:
    """Gives what would be compiled without compiling it: a step is a function of tensors, and the rest stays."""

    def graph(self, module, tensors, free):
        return module


@pytest.fixture
def at_hand(monkeypatch):
    """As if every package were at hand."""
    monkeypatch.setattr(accelerate, "Packages", lambda *arguments, **options: AsTheyAre())
    monkeypatch.setattr(accelerate, "packaged", lambda *arguments: True)
    monkeypatch.setattr("happyhorse.compile.artefacts.any_at_hand", lambda: True)


@pytest.fixture
def plain_torch(monkeypatch):
    """A torch without oneDNN."""
    monkeypatch.setattr("happyhorse.compile.linears.serves", lambda dtype: False)


def test_without_packages_and_onednn_clips_are_the_plain_models_to_the_bit(tiny_model, plain_torch):
    plain, auto = clip(tiny_model, "off"), clip(tiny_model, "auto")
    assert np.array_equal(plain.frames, auto.frames) and np.array_equal(plain.audio, auto.audio)
    assert plain.recipe == auto.recipe
    assert "compile" not in plain.recipe


@pytest.mark.skipif(not serves(torch.float32), reason="this torch has no oneDNN")
def test_without_packages_the_model_is_prepared_and_the_recipe_says_so(tiny_model):
    told: list[str] = []
    plain, auto, again = clip(tiny_model, "off"), clip(tiny_model, "auto", told), clip(tiny_model, "auto")
    made = {"scope": "off", "attention": "auto", "linear": "onednn"}
    assert auto.recipe == {**plain.recipe, "compile": made}
    assert np.array_equal(auto.frames, again.frames) and np.array_equal(auto.audio, again.audio)
    assert np.abs(auto.frames.astype(int) - plain.frames).max() <= 1 and np.abs(auto.audio - plain.audio).max() < 1e-3
    parts = load_parts(resolve(tiny_model), CPU)
    like = Compiling(parts.model, "auto", spec=CompileSpec.from_dict(made))
    repeated = Pipeline(parts, CPU, like)(BALL, seed=4, size=(64, 64), guidance=1.0)
    assert np.array_equal(repeated.frames, auto.frames) and repeated.recipe == auto.recipe
    assert {type(m).__name__ for m in parts.model.modules()} >= {"BlockLinear", "Attention"}, "the model stays as it is"


def test_a_prepared_clip_is_repeated_as_it_was_even_with_packages(tiny_model, at_hand):
    parts = load_parts(resolve(tiny_model), CPU)
    like = Compiling(parts.model, "auto", spec=CompileSpec(scope="off", attention="range", linear="as-is"))
    made = Pipeline(parts, CPU, like)(BALL, seed=4, size=(64, 64), guidance=1.0)
    assert made.recipe["compile"] == {"scope": "off", "attention": "range", "linear": "as-is"}


def test_a_package_at_hand_is_used_and_the_recipe_says_so(tiny_model, at_hand):
    told: list[str] = []
    fast, plain = clip(tiny_model, "auto", told), clip(tiny_model, "off")
    assert told == ["compiled: a package is at hand"]
    assert fast.recipe == {**plain.recipe, "compile": {"scope": "full", "attention": "plain", "linear": "as-is"}}
    assert list(fast.recipe)[:4] == ["happyhorse", "model", "weights", "compile"]
    # Rounding differs, and a pixel on the edge of two values may fall on either side.
    assert np.abs(fast.frames.astype(int) - plain.frames).max() <= 1
    assert np.abs(fast.audio - plain.audio).max() < 1e-3


def test_off_is_off_even_with_packages(tiny_model, at_hand):
    told: list[str] = []
    assert "compile" not in clip(tiny_model, "off", told).recipe
    assert told == []


def test_the_decision_is_taken_once_for_all_clips_of_a_kind(tiny_model, at_hand):
    told: list[str] = []
    parts = load_parts(resolve(tiny_model), CPU)
    pipeline = Pipeline(parts, CPU, Compiling(parts.model, "auto", tell=told.append))
    for seconds in (0.5, 1.0):
        pipeline(BALL, seed=1, size=(64, 64), seconds=seconds, guidance=1.0)
    assert len(told) == 1


def test_a_model_whose_numbers_were_changed_stays_as_it_is(tiny_model):
    pipeline = Pipeline.from_pretrained(tiny_model)
    use_linears(pipeline.parts.model, "bf16")
    assert "compile" not in pipeline(BALL, seed=4, size=(64, 64), guidance=1.0).recipe


def test_more_clips_are_more_work(tiny_model, monkeypatch):
    found = []
    monkeypatch.setattr(compiled, "choose", lambda asked, **facts: found.append(facts["work"]) or Choice("eager", ""))
    for clips in (1, 500):
        parts = load_parts(resolve(tiny_model), CPU)
        pipeline = Pipeline(parts, CPU, Compiling(parts.model, "auto", clips=clips))
        pipeline(BALL, seed=1, size=(64, 64), guidance=1.0)
    assert found[1] == pytest.approx(500 * found[0])


def test_what_cannot_be_compiled_runs_as_it_is_and_it_says_so(tiny_model, at_hand, monkeypatch, plain_torch):
    def refuse(self, *arguments):
        raise CompileError("no such graph")

    monkeypatch.setattr(AsTheyAre, "graph", refuse)
    told: list[str] = []
    fast, plain = clip(tiny_model, "auto", told), clip(tiny_model, "off")
    assert np.array_equal(fast.frames, plain.frames) and np.array_equal(fast.audio, plain.audio)
    assert fast.recipe == plain.recipe
    assert told[-1] == "not compiled: no such graph"


def test_another_way_is_refused(tiny_model):
    with pytest.raises(ConfigError, match="compile is 'fast'"):
        Pipeline.from_pretrained(tiny_model, compile="fast")


def test_a_copy_shares_weights_and_nothing_else(tiny_model):
    model = load_parts(resolve(tiny_model), CPU).model
    copy = sharing(model)
    assert all(one is other for one, other in zip(model.parameters(), copy.parameters(), strict=True))
    copy.block.layers[0] = torch.nn.Identity()
    assert not isinstance(model.block.layers[0], torch.nn.Identity)
