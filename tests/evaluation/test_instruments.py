import dataclasses

import numpy as np
import pytest
import torch

from happyhorse.data.scenes.world import FAMILIES
from happyhorse.evaluation import instruments
from happyhorse.evaluation.instruments import (
    Fitting,
    Validation,
    cached_instruments,
    fingerprint,
    fitting_plans,
    load_fitted,
    probe_keys,
    real_clips,
    roughen,
)

SMALL = Fitting(seconds=0.5, learn=10, valid=4)


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return folder, cached_instruments(SMALL, folder)


def test_there_is_a_probe_for_every_attribute_in_either_medium(cached):
    _, fitted = cached
    wanted = {key for family in FAMILIES for key in probe_keys(family)}
    assert set(fitted.probes) == wanted
    assert set(fitted.validations) == wanted | {("horse", "steps", "picture"), ("walker", "steps", "picture")}


def test_the_cache_gives_the_same_instruments(cached, monkeypatch):
    folder, fitted = cached
    monkeypatch.setattr(instruments, "fit_instruments", None)
    again = cached_instruments(SMALL, folder)
    assert again.validations == fitted.validations
    for key, probe in fitted.probes.items():
        assert again.probes[key].values == probe.values
        assert torch.equal(again.probes[key].weight, probe.weight)
    assert torch.equal(again.steps["horse"].weight, fitted.steps["horse"].weight)


def test_a_damaged_cache_is_made_again(cached, tmp_path, monkeypatch):
    _, fitted = cached
    path = tmp_path / f"instruments-{fingerprint(SMALL)}.safetensors"
    path.write_bytes(b"not safetensors")
    monkeypatch.setattr(instruments, "fit_instruments", lambda *_: fitted)
    cached_instruments(SMALL, tmp_path)
    assert load_fitted(path).validations == fitted.validations


def test_only_trusted_probes_judge(cached):
    _, fitted = cached
    good, bad = Validation(1.0, 0.98, 4), Validation(1.0, 0.97, 4)
    marked = dataclasses.replace(
        fitted, validations={key: good if key[1] == "colour" else bad for key in fitted.validations}
    )
    plan = fitting_plans(SMALL, "ball")[0]
    (frames, sound), *_ = real_clips([plan], 48)
    assert set(marked.judge("ball", frames, sound)) == {("colour", "picture"), ("colour", "sound")}
    assert marked.step_detector("horse") is None
    assert marked.step_detector("ball") is None


def test_the_fingerprint_follows_settings_and_scenes(monkeypatch):
    first = fingerprint(SMALL)
    assert first == fingerprint(SMALL)
    assert first != fingerprint(SMALL.replace(learn=11))
    ball = FAMILIES["ball"]
    monkeypatch.setattr(
        type(ball), "draw", lambda self, plans, canvas: torch.zeros(len(plans), 3, canvas.frames, 48, 48)
    )
    assert first != fingerprint(SMALL)


def test_learning_and_validating_scenes_differ():
    plans = fitting_plans(SMALL, "ball")
    assert len({plan.seed for plan in plans}) == len(plans) == 18
    ball = FAMILIES["ball"]
    assert [ball.held_out(plan.attributes) for plan in plans[10:]] == [False] * 4 + [True] * 4
    assert any(ball.held_out(plan.attributes) for plan in plans[:10])


def test_roughened_frames_stay_near_the_picture():
    frames = np.full((4, 48, 48, 3), 100, np.uint8)
    rough = roughen(frames, torch.Generator().manual_seed(1))
    assert rough.shape == frames.shape
    assert 0 < np.abs(rough.astype(int) - 100).mean() < 15
