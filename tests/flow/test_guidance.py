import pytest
import torch

from happyhorse.flow.guidance import GuidanceScale, guide, guided, guided_steps, magihuman_schedule
from happyhorse.flow.timesteps import magihuman_grid
from happyhorse.types import Latents


def velocities() -> tuple[Latents, Latents]:
    torch.manual_seed(0)
    return tuple(Latents(torch.randn(1, 2, 4, 2, 2), torch.randn(1, 5, 3)) for _ in range(2))  # pyright: ignore


def test_scale_one_is_conditional_and_zero_unconditional():
    conditional, unconditional = velocities()
    mixed = guide(conditional, unconditional, GuidanceScale(video=1, audio=0))
    assert torch.allclose(mixed.video, conditional.video)
    assert torch.allclose(mixed.audio, unconditional.audio)


def test_streams_have_their_own_scale():
    conditional, unconditional = velocities()
    mixed = guide(conditional, unconditional, GuidanceScale(video=5, audio=3))
    assert torch.allclose(mixed.video, 5 * conditional.video - 4 * unconditional.video, atol=1e-5)
    assert torch.allclose(mixed.audio, 3 * conditional.audio - 2 * unconditional.audio, atol=1e-5)


def test_first_frames_can_be_capped():
    conditional, unconditional = velocities()
    mixed = guide(conditional, unconditional, GuidanceScale(3.5, 3.5, first_frames=3, first_frames_limit=2.0))
    capped = guide(conditional, unconditional, GuidanceScale(2.0, 3.5))
    free = guide(conditional, unconditional, GuidanceScale(3.5, 3.5))
    assert torch.allclose(mixed.video[:, :, :3], capped.video[:, :, :3])
    assert torch.allclose(mixed.video[:, :, 3:], free.video[:, :, 3:])
    assert torch.allclose(mixed.audio, free.audio)


def test_a_cap_above_the_scale_changes_nothing():
    conditional, unconditional = velocities()
    mixed = guide(conditional, unconditional, GuidanceScale(1.5, 1.5, first_frames=3, first_frames_limit=2.0))
    assert torch.allclose(mixed.video, guide(conditional, unconditional, GuidanceScale(1.5, 1.5)).video)


def test_published_schedule_turns_down_the_video_after_27_of_32_steps():
    scales = [magihuman_schedule(sigma) for sigma in magihuman_grid(32)[:-1]]
    assert [scale.video for scale in scales] == [5.0] * 27 + [2.0] * 5
    assert all(scale.audio == 5.0 for scale in scales)


def test_plain_scale_never_asks_the_unconditional_field():
    conditional, _ = velocities()

    def forbidden(_latents: Latents) -> Latents:
        pytest.fail("the unconditional field was computed for nothing")

    assert guided(lambda x: x, forbidden, GuidanceScale(1, 1))(conditional) is conditional


def test_every_step_gets_the_scale_of_its_own_level():
    conditional, unconditional = velocities()
    steps = guided_steps(
        lambda _: conditional, lambda _: unconditional, [0.9, 0.4, 0.0], lambda t: GuidanceScale(10 * t, 1)
    )
    for step, scale in zip(steps, (9.0, 4.0), strict=True):
        expected = guide(conditional, unconditional, GuidanceScale(scale, 1))
        assert torch.allclose(step(conditional).video, expected.video)
