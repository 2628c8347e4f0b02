"""The rollout is the sampler, with gradients through one step."""

import pytest
import torch

from happyhorse.distillation.rollout import rollout
from happyhorse.flow.timesteps import grid
from happyhorse.sampling.samplers import BY_NAME
from happyhorse.types import Known, Latents

STEPS = 8
SIGMAS = grid(STEPS)


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


@pytest.mark.parametrize("name", BY_NAME)
def test_the_whole_way_is_what_is_generated(name):
    seeds = (torch.Generator().manual_seed(1) for _ in range(2))
    left = BY_NAME[name](Field(), noise(), SIGMAS, generator=next(seeds))
    right = rollout(Field(), noise(), SIGMAS, STEPS - 1, name, generator=next(seeds))
    assert torch.equal(left.video, right.video) and torch.equal(left.audio, right.audio)


@pytest.mark.parametrize("name", ["dmd", "unipc"])
@pytest.mark.parametrize("step", [0, 3, STEPS - 1])
def test_gradients_reach_the_exit_step_alone(step, name):
    field = Field()
    found = rollout(field, noise(), SIGMAS, step, name, generator=torch.Generator().manual_seed(1))
    assert field.calls == step + 1
    (found.video.sum() + found.audio.sum()).backward()
    assert field.weights.grad is not None
    assert field.weights.grad.nonzero().flatten().tolist() == [step]


def test_known_latents_stay():
    like = noise(5)
    known = Known(like, torch.tensor([[True, False, False, False]] * 2), torch.ones(2, 4, dtype=torch.bool))
    for step in (0, 4):
        seed = torch.Generator().manual_seed(1)
        found = rollout(Field(), noise(), SIGMAS, step, "dmd", known=known, generator=seed)
        assert torch.equal(found.audio, like.audio) and torch.equal(found.video[:, :, 0], like.video[:, :, 0])
        assert not torch.equal(found.video[:, :, 1], like.video[:, :, 1])


def test_a_step_that_does_not_exist_is_refused():
    with pytest.raises(AssertionError, match="no step 8"):
        rollout(Field(), noise(), SIGMAS, STEPS, "dmd")


def test_a_step_before_the_last_predicts_what_the_sampler_saw_there():
    """The inputs of the exit step are those of a clip on its way, not of shorter ways."""
    seen = []

    def field(latents: Latents) -> Latents:
        seen.append(latents)
        return latents.map(lambda x: 0.5 * x)

    for name in BY_NAME:
        whole, cut = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
        BY_NAME[name](field, noise(), SIGMAS, generator=whole)
        found = rollout(field, noise(), SIGMAS, 5, name, generator=cut)
        assert all(torch.equal(a.video, b.video) for a, b in zip(seen[:6], seen[STEPS:], strict=True)), name
        expected = seen[5].video - SIGMAS[5] * 0.5 * seen[5].video
        torch.testing.assert_close(found.video, expected, atol=1e-5, rtol=1e-5)
        seen.clear()
