"""The warm start: one pass learns to say what the teacher says with guidance, and the fake score begins there."""

import pytest
import torch

from happyhorse.distillation.roles import three_networks
from happyhorse.distillation.run import load_teacher, make_tasks
from happyhorse.distillation.warm import guidance_loss, warm_up
from happyhorse.recipes.codec import Fit
from happyhorse.recipes.distill import distill_recipes
from happyhorse.training.fit import Work
from happyhorse.training.stop import Stop

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return make_tasks(distill_recipes()["foal-tiny"](), tmp_path_factory.mktemp("cache"), CPU, Stop(), print)


def loss_of(roles, tasks, config):
    with torch.no_grad():
        return sum(guidance_loss(roles, tasks.task(1000 + step, 0), config)[0].item() for step in range(4))


def test_without_guidance_the_teacher_has_nothing_to_teach(tasks):
    config, roles = distill_recipes()["foal-tiny"](), three_networks(load_teacher("foal-base", CPU))
    assert loss_of(roles, tasks, config.replace(warm_guidance=(1.0, 1.0))) == pytest.approx(0, abs=1e-6)
    assert loss_of(roles, tasks, config) > 0.01


def test_the_student_comes_nearer_to_the_guided_teacher_and_the_fake_score_begins_there(tasks, tmp_path):
    config = distill_recipes()["foal-tiny"]().replace(warm=Fit(40, learning_rate=2e-3, kind="muon"))
    roles = three_networks(load_teacher("foal-base", CPU))
    before = loss_of(roles, tasks, config)
    warm_up(roles, tasks, config, Work(tmp_path, 0, Stop(), print))
    assert loss_of(roles, tasks, config) < 0.9 * before
    for fake, student in zip(roles.fake.parameters(), roles.student.parameters(), strict=True):
        assert torch.equal(fake, student)
    teacher = load_teacher("foal-base", CPU)
    assert all(torch.equal(*pair) for pair in zip(roles.real.parameters(), teacher.parameters(), strict=True))


def test_a_recipe_without_a_warm_start_leaves_everything(tasks, tmp_path):
    roles = three_networks(load_teacher("foal-base", CPU))
    warm_up(roles, tasks, distill_recipes()["foal-tiny"]().replace(warm=None), Work(tmp_path, 0, Stop(), print))
    assert torch.equal(roles.student.final_linear_video.weight, roles.real.final_linear_video.weight)
    assert not list(tmp_path.iterdir())
