"""Stacks on one backbone: they begin as it, learn without moving it, and can be taken out as plain models."""

import pytest
import torch

from happyhorse.config import ModelConfig
from happyhorse.distillation.roles import conditional, one_backbone, plain, three_networks
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text


def model() -> Transformer:
    torch.manual_seed(0)
    config = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=300)
    made = Transformer(config)
    for head in (made.final_linear_video, made.final_linear_audio):
        torch.nn.init.normal_(head.weight, std=0.1)
    return made


def inputs() -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(2, 48, 2, 4, 4, generator=generator), torch.randn(2, 5, 64, generator=generator))
    return latents, Text(torch.randint(3, 200, (2, 6), generator=generator), torch.tensor([6, 4]))


def answer(role) -> torch.Tensor:
    latents, text = inputs()
    with torch.no_grad():
        found = conditional(role, text, latents)(latents)
    return torch.cat([found.video.flatten(), found.audio.flatten()])


@pytest.fixture
def roles():
    return one_backbone(model(), rank=2)


def learn(role, steps: int = 3) -> None:
    latents, text = inputs()
    optimizer = torch.optim.SGD(role.parameters(), lr=1.0)
    for _ in range(steps):
        found = conditional(role, text, latents)(latents)
        optimizer.zero_grad()
        (found.video.square().mean() + found.audio.square().mean()).backward()
        optimizer.step()


def test_all_roles_begin_as_the_teacher(roles):
    whole = answer(model())
    for role in (roles.student, roles.real, roles.fake):
        torch.testing.assert_close(answer(role), whole)
    for role in vars(three_networks(model())).values():
        torch.testing.assert_close(answer(role), whole)


def test_a_stack_learns_and_nothing_else_moves(roles):
    before = answer(roles.real)
    learn(roles.student)
    assert (answer(roles.student) - before).abs().max() > 1e-3
    assert torch.equal(answer(roles.real), before) and torch.equal(answer(roles.fake), before)
    assert list(roles.real.parameters()) == []
    kept = roles.student.state_dict()
    assert kept and all(name.startswith(("down", "up")) for name in kept), "a checkpoint holds the stack alone"


def test_a_stack_taken_out_answers_the_same(roles):
    learn(roles.student)
    merged = plain(roles.student)
    assert set(merged.state_dict()) == set(model().state_dict())
    torch.testing.assert_close(answer(merged), answer(roles.student), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answer(plain(roles.real)), answer(model()))


def test_both_stacks_can_be_in_one_graph(roles):
    """Each call answers with its own stack, whatever the others did in between."""
    learn(roles.student)
    learn(roles.fake, steps=1)
    latents, text = inputs()
    first, second = (conditional(role, text, latents) for role in (roles.student, roles.fake))
    expected = answer(roles.student), answer(roles.fake)
    found = [torch.cat([v.video.flatten(), v.audio.flatten()]) for v in (first(latents), second(latents))]
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    for role in (roles.student, roles.fake):
        role.zero_grad(set_to_none=True)
    found[0].sum().backward()
    assert all(p.grad is None for p in roles.fake.parameters())
    assert any(p.grad is not None and p.grad.any() for p in roles.student.parameters())


@pytest.mark.parametrize("mode", ["cheap", "full"])
def test_what_is_recomputed_is_recomputed_with_its_own_stack(roles, mode):
    """A backward pass comes when no stack is active any more, and may go through both."""
    thrifty = one_backbone(model(), rank=2, recompute=mode)
    for made in (roles, thrifty):
        learn(made.student)
        latents, text = inputs()
        for role in (made.student, made.fake):
            role.zero_grad(set_to_none=True)
        first, second = (conditional(role, text, latents)(latents).video for role in (made.student, made.fake))
        (first * second).sum().backward()
    for name in ("student", "fake"):
        found, expected = (dict(getattr(made, name).named_parameters()) for made in (thrifty, roles))
        assert all(torch.equal(found[key].grad, expected[key].grad) for key in expected)
