"""The rollout is the sampler, with gradients through one step."""

import pytest
import torch

from happyhorse.distillation.rollout import rollout
from happyhorse.flow.timesteps import grid
from happyhorse.sampling.samplers import dmd, dmd_euler, fresh_shares
from happyhorse.types import Known, Latents

STEPS = 8
SIGMAS = grid(STEPS)
HALF = fresh_shares("dmd-euler", STEPS)


def noise(seed: int = 0) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    return Latents(torch.randn(2, 3, 4, 2, 2, generator=generator), torch.randn(2, 4, 5, generator=generator))


class Field:
    """A velocity with a weight of its own for every call, so that it can be told which of them a gradient reaches."""

    def __init__(self) -> None:
        self.weights = torch.full((STEPS,), 0.7, requires_grad=True)
        self.calls = 0

    def __call__(self, latents: Latents) -> Latents:
        weight = self.weights[self.calls]
        self.calls += 1
        return Latents(weight * latents.video + 0.1 * latents.audio.mean(), weight * latents.audio)


@pytest.mark.parametrize(("name", "sampler"), [("dmd", dmd), ("dmd-euler", dmd_euler)])
def test_the_whole_way_is_what_is_generated(name, sampler):
    seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    left = sampler(Field(), noise(), SIGMAS, generator=next(seeds))
    right = rollout(Field(), noise(), SIGMAS, STEPS - 1, fresh_shares(name, STEPS), generator=next(seeds))
    assert torch.equal(left.video, right.video) and torch.equal(left.audio, right.audio)


@pytest.mark.parametrize("step", [0, 3, STEPS - 1])
def test_gradients_reach_the_exit_step_alone(step):
    field = Field()
    found = rollout(field, noise(), SIGMAS, step, HALF, generator=torch.Generator().manual_seed(1))
    assert field.calls == step + 1
    (found.video.sum() + found.audio.sum()).backward()
    assert field.weights.grad is not None
    assert field.weights.grad.nonzero().flatten().tolist() == [step]


def test_known_latents_stay():
    like = noise(5)
    known = Known(like, torch.tensor([[True, False, False, False]] * 2), torch.ones(2, 4, dtype=torch.bool))
    for step in (0, 4):
        found = rollout(Field(), noise(), SIGMAS, step, HALF, known=known, generator=torch.Generator().manual_seed(1))
        assert torch.equal(found.audio, like.audio) and torch.equal(found.video[:, :, 0], like.video[:, :, 0])
        assert not torch.equal(found.video[:, :, 1], like.video[:, :, 1])


def test_a_step_that_does_not_exist_is_refused():
    with pytest.raises(AssertionError, match="no step 8"):
        rollout(Field(), noise(), SIGMAS, STEPS, HALF)
