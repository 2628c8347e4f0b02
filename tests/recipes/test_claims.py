"""Every variant of a claim differs from the design in one thing, and learns."""

import dataclasses

import pytest
import torch

from happyhorse.codecs.text import Tokenizer
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer, parameter_count
from happyhorse.recipes.claims import REFERENCE, VARIANTS, claim
from happyhorse.recipes.foal import recipe
from happyhorse.training.build import make_state
from happyhorse.training.loop import draw_example, optimise
from happyhorse.types import ClipShape, Latents

TINY = {"hidden": 32, "head_dim": 16, "query_heads": 2, "kv_heads": 1}


def changes(variant: str) -> set[str]:
    one, other = dataclasses.asdict(claim(variant)), dataclasses.asdict(claim(REFERENCE))
    inner = {f"model.{key}" for key in one["model"] if one["model"][key] != other["model"][key]}
    return {key for key in one if one[key] != other[key] and key not in ("name", "model")} | inner


def test_a_variant_changes_one_thing_alone():
    layers = {"model.specific_first", "model.shared", "model.specific_last"}
    assert changes("ungated") == {"model.gate"} and changes("sigmoid") == {"model.attention"}
    assert changes("timestep") == {"model.timestep"}
    assert changes("all-shared") == layers and changes("two-streams") == layers | {"model.streams"}
    assert changes("sound-after") == {"noise", "known"}


def test_all_have_ten_layers_and_only_streams_of_their_own_have_many_more_weights():
    sizes = {name: parameter_count(Transformer(claim(name).model)) for name in VARIANTS}
    assert {claim(name).model.layers for name in VARIANTS} == {10}
    assert sizes["all-shared"] < sizes["sandwich"] < sizes["two-streams"] < 2.5 * sizes["sandwich"]
    assert abs(sizes["ungated"] / sizes["sandwich"] - 1) < 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_takes_a_step(variant):
    config = claim(variant)
    config = config.replace(model=config.model.replace(**TINY))
    state = make_state(config, torch.device("cpu"))
    before = torch.cat([value.flatten().clone() for value in state.model.parameters()])
    shape = ClipShape(0.5, 32, 32)
    clean = Latents(torch.randn(4, 48, *shape.latent_size), torch.randn(4, shape.audio_latents, 64))
    text = Tokenizer.load().batch(["a red ball bounces on wood"] * 4)
    losses, loss, _, _ = optimise(state, draw_example(clean, config, 3), text, config)
    after = torch.cat([value.flatten() for value in state.model.parameters()])
    assert loss.isfinite() and not torch.equal(before, after)
    if variant == "sound-after":
        assert bool(((losses.video == 0) ^ (losses.audio == 0)).all()), "either the picture or the sound is learned"
    else:
        assert bool((losses.video > 0).all() and (losses.audio > 0).all())


def test_claims_are_recipes_and_unknown_ones_are_refused():
    assert recipe("claim-sigmoid").model.attention == "sigmoid"
    with pytest.raises(ConfigError, match="known are sandwich"):
        claim("magic")
