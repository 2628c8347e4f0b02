"""A short distillation from its recipe to candidates that load."""

import json

import pytest
import torch

from happyhorse.config import ModelConfig
from happyhorse.distillation import distill as distill_module
from happyhorse.distillation import dmd
from happyhorse.distillation import run as runs
from happyhorse.distillation.distill import DistillState, update_student
from happyhorse.distillation.roles import three_networks
from happyhorse.distillation.run import distill, load_teacher, make_tasks
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.distill import distill_recipes
from happyhorse.recipes.recipe import KnownShares
from happyhorse.training.stop import Stop
from happyhorse.weights.store import load_config, load_module

CPU = torch.device("cpu")


def student(path) -> Transformer:
    model = Transformer(load_config(ModelConfig, path))
    load_module(model, path)
    return model


def vector(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    said: list[str] = []
    assert distill("foal-tiny", folder, device="cpu", report=said.append) == 0
    return folder, said


def test_a_run_leaves_candidates_that_differ_from_the_teacher_and_a_log(whole):
    folder, said = whole
    assert "done: 4 updates" in said[-1]
    candidates = sorted(folder.glob("student-*.safetensors"))
    assert [path.name for path in candidates] == ["student-00002.safetensors", "student-00004.safetensors"]
    teacher, first, last = vector(load_teacher("foal-base", CPU)), *(vector(student(path)) for path in candidates)
    assert 0 < (first - teacher).abs().max() < 0.1
    assert not torch.equal(first, last)
    assert not student(candidates[-1]).config.language_head, "what is not trained on must not be offered"
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    for name in ("video g", "audio g", "fake video", "fake audio"):
        assert all(0 < record[name] < 10 for record in records), name


def test_every_candidate_is_looked_at_and_what_is_seen_is_logged(whole, tmp_path):
    seen = []

    def watch(candidate):
        seen.append(vector(student(candidate)))
        return {"silent": 0.25}

    assert distill("foal-tiny", tmp_path, device="cpu", latents=whole[0] / "cache", report=print, watch=watch) == 0
    assert len(seen) == 2 and torch.equal(seen[1], vector(student(whole[0] / "student-00004.safetensors")))
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record.get("silent") == 0.25] == [2, 4]


def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(whole, tmp_path, monkeypatch):
    class Impatient(Stop):
        asked = 0

        def reason(self):
            Impatient.asked += 1
            return "time is up" if Impatient.asked == 4 else None

    with monkeypatch.context() as patch:
        patch.setattr(runs, "Stop", Impatient)
        assert distill("foal-tiny", tmp_path, device="cpu", latents=whole[0] / "cache", report=print) == 0
    assert len(list(tmp_path.glob("student-*"))) < 3 and not (tmp_path / "student-00004.safetensors").exists()
    assert distill("foal-tiny", tmp_path, device="cpu", latents=whole[0] / "cache", report=print) == 0
    ends = (vector(student(folder / "student-00004.safetensors")) for folder in (whole[0], tmp_path))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


def test_the_student_moves_from_the_fake_score_to_the_real_one(whole, monkeypatch):
    """With the real velocity one everywhere and the fake one zero, all of the student's output has to fall."""
    config = distill_recipes()["foal-tiny"]()
    config = config.replace(known=KnownShares(first_frame=0, last_frame=0, audio=0, video=0, prefix=0))
    tasks = make_tasks(config, whole[0] / "cache", CPU, Stop(), print)
    state = DistillState.begin(three_networks(load_teacher("foal-base", CPU)), config)
    usual, loss, found = distill_module.conditional, dmd.matching_loss, []

    def conditional(role, text, like):
        return (lambda x: x.map(torch.zeros_like)) if role is state.roles.fake else usual(role, text, like)

    def matching_loss(data, direction):
        found.append(direction)
        return loss(data, direction)

    monkeypatch.setattr(distill_module, "conditional", conditional)
    monkeypatch.setattr(distill_module, "with_guidance", lambda *anything: lambda x: x.map(torch.ones_like))
    monkeypatch.setattr(dmd, "matching_loss", matching_loss)
    before = vector(state.roles.student)
    update_student(state, tasks.task(0, 0), config, lowest=0.3, progress=0.5)
    assert len(found) == 2 and all((direction > 0).all() for direction in found)
    assert not torch.equal(vector(state.roles.student), before)


def test_stacks_on_one_backbone_leave_a_plain_student(whole, tmp_path, monkeypatch):
    recipe = distill_recipes()["foal-tiny"]().replace(rank=2)
    monkeypatch.setattr(runs, "distill_recipes", lambda: {"foal-tiny": lambda: recipe})
    assert distill("foal-tiny", tmp_path, device="cpu", latents=whole[0] / "cache", report=print) == 0
    found, teacher = (
        vector(model) for model in (student(tmp_path / "student-00004.safetensors"), load_teacher("foal-base", CPU))
    )
    assert found.shape == teacher.shape and not torch.equal(found, teacher)
    small, large = ((next(folder.glob("checkpoint-*4.pt"))).stat().st_size for folder in (tmp_path, whole[0]))
    assert small < large / 10


def test_an_unknown_recipe_is_named_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match='"pony" is unknown; known are foal, foal-tiny'):
        distill("pony", tmp_path)


def test_recipes_say_what_they_do():
    for recipe in distill_recipes().values():
        assert recipe().sigmas[0] == 1 and recipe().sigmas[-1] == 0 and len(recipe().sigmas) == recipe().steps + 1
        assert recipe().replace(seed=1).fingerprint != recipe().fingerprint
        assert recipe().replace(log_every=99).fingerprint == recipe().fingerprint
    law = distill_recipes()["foal"]().renoise
    assert law.lowest_at(0.05) == 0.3 and law.lowest_at(0.5) == 0.02
    with pytest.raises(ConfigError, match="1 or more"):
        distill_recipes()["foal-tiny"]().replace(steps=0)
