"""Steps that fit into a given time."""

import pytest
import torch

from happyhorse.recipes.foal import foal_tiny
from happyhorse.training import budget
from happyhorse.training.budget import fit_to_minutes, step_seconds


def test_steps_follow_from_the_minutes_and_the_speed_of_each_stage(monkeypatch):
    config = foal_tiny()
    monkeypatch.setattr(budget, "step_seconds", lambda config, shape, batch, state: 0.1 * batch)
    # half of the steps take 0.4 s and half 0.2 s
    steps = fit_to_minutes(config, 10, torch.device("cpu")).steps
    assert steps == pytest.approx(600 / 0.3 / budget.OVERHEAD, abs=1)


def test_no_stage_is_left_out_of_a_very_short_run(monkeypatch):
    monkeypatch.setattr(budget, "step_seconds", lambda config, shape, batch, state: 1000.0)
    assert all(stage.steps == 1 for stage in fit_to_minutes(foal_tiny(), 1, torch.device("cpu")).stages)


def test_a_measured_step_trains_the_state_it_is_given(make_job, tmp_path):
    job, state = make_job(tmp_path)
    before = state.model.adapter.video_embedder.weight.clone()
    assert step_seconds(job.config, job.config.stages[0].shapes[0], 2, state, trials=1) > 0
    assert state.average.updates == 2 and not torch.equal(before, state.model.adapter.video_embedder.weight)
