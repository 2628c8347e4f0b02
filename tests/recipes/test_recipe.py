"""Recipes: frozen, derivable, and checked."""

import pytest

from happyhorse.errors import ConfigError
from happyhorse.recipes.foal import foal, foal_tiny
from happyhorse.recipes.recipe import KnownShares, OptimizerConfig, Stage
from happyhorse.types import ClipShape


def test_the_size_dial_scales_batch_and_rate():
    scaled = foal().scaled(4)
    assert [stage.batch for stage in scaled.stages] == [4 * stage.batch for stage in foal().stages]
    assert scaled.optimizer.learning_rate == pytest.approx(2 * foal().optimizer.learning_rate)
    assert scaled.steps == foal().steps


@pytest.mark.parametrize("steps", [2, 3, 100, 12_345])
def test_with_steps_keeps_the_shares_of_the_stages(steps):
    base = foal()
    config = base.with_steps(steps)
    assert config.steps == steps
    for before, after in zip(base.stages, config.stages, strict=True):
        assert abs(after.steps - before.steps * steps / base.steps) <= 1


def test_fingerprint_follows_what_changes_the_numbers():
    config = foal_tiny()
    assert config.replace(log_every=7).fingerprint == config.fingerprint
    assert config.replace(seed=1).fingerprint != config.fingerprint
    assert config.scaled(2).fingerprint != config.fingerprint


def test_stage_at_covers_every_step():
    config = foal_tiny()
    assert [config.stage_at(step) for step in (0, 3, 4, 7)] == [config.stages[0]] * 2 + [config.stages[1]] * 2


def test_a_step_of_small_clips_holds_as_many_tokens_as_one_of_large_clips():
    large, small = ClipShape(5, 128, 128), ClipShape(3, 32, 32)
    assert (large.tokens, small.tokens) == (31 * 4 * 4 + 121, 19 * 1 * 1 + 73)
    stage = Stage(steps=1, batch=8, shapes=(small, large))
    assert stage.samples(large) == 8
    assert stage.samples(small) == 54  # 8 x 617 / 92


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match="lion"):
        OptimizerConfig(kind="lion")
    with pytest.raises(ConfigError, match="at most 1"):
        KnownShares(first_frame=0.9, audio=0.2)
    with pytest.raises(ConfigError, match="at least one step"):
        foal().replace(stages=())
