"""The flow-matching example and its loss."""

import pytest
import torch

from happyhorse.training.losses import flow_matching_loss, make_example
from happyhorse.types import Known, Latents


def random_latents(seed, count=3, frames=2):
    generator = torch.Generator().manual_seed(seed)
    video = torch.randn(count, 4, frames, 2, 2, generator=generator)
    return Latents(video, torch.randn(count, 4 * (frames - 1) + 1, 6, generator=generator))


def nothing_known(like):
    count, frames, sounds = like.video.shape[0], like.video.shape[2], like.audio.shape[1]
    return Known(like, torch.zeros(count, frames, dtype=torch.bool), torch.zeros(count, sounds, dtype=torch.bool))


def example(known=None, times=None):
    clean, noise = random_latents(1), random_latents(2)
    times = times or Latents(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.25, 0.0]))
    return clean, noise, make_example(clean, noise, times, known or nothing_known(clean))


def test_each_modality_is_mixed_at_its_own_level():
    clean, noise, made = example()
    torch.testing.assert_close(made.noisy.video[0], clean.video[0])
    torch.testing.assert_close(made.noisy.video[1], (clean.video[1] + noise.video[1]) / 2)
    torch.testing.assert_close(made.noisy.audio[0], noise.audio[0])
    torch.testing.assert_close(made.noisy.audio[1], 0.75 * clean.audio[1] + 0.25 * noise.audio[1])
    torch.testing.assert_close(made.target.video, noise.video - clean.video)


def test_the_right_velocity_has_no_loss_and_leads_back_to_the_data():
    clean, _, made = example()
    losses = flow_matching_loss(made.target, made)
    assert losses.video.abs().max() == 0 and losses.audio.abs().max() == 0
    back = made.noisy.video - made.times.video.view(-1, 1, 1, 1, 1) * made.target.video
    torch.testing.assert_close(back, clean.video)


def test_loss_is_the_mean_square_of_each_modality():
    _, _, made = example()
    off = Latents(made.target.video + 2, made.target.audio + 3)
    losses = flow_matching_loss(off, made)
    torch.testing.assert_close(losses.video, torch.full((3,), 4.0))
    torch.testing.assert_close(losses.audio, torch.full((3,), 9.0))


def test_known_parts_are_clean_and_out_of_the_loss_and_of_its_mean():
    clean = random_latents(1)
    known = nothing_known(clean)
    known.video_mask[0, 0] = True
    known.audio_mask[1] = True
    _, _, made = example(known, Latents(torch.full((3,), 0.7), torch.full((3,), 0.7)))
    torch.testing.assert_close(made.noisy.video[0, :, 0], clean.video[0, :, 0])
    torch.testing.assert_close(made.noisy.audio[1], clean.audio[1])

    wrong = Latents(made.target.video.clone(), made.target.audio + 5)
    wrong.video[0, :, 0] += 100  # known: does not count
    wrong.video[0, :, 1] += 2  # unknown: counts, averaged over the unknown half alone
    losses = flow_matching_loss(wrong, made)
    assert losses.video[0].item() == pytest.approx(4.0, rel=1e-5)
    assert losses.audio.tolist() == pytest.approx([25.0, 0.0, 25.0], rel=1e-5)


def test_no_gradient_comes_from_known_parts():
    clean = random_latents(1)
    known = nothing_known(clean)
    known.video_mask[:, 0] = True
    _, _, made = example(known)
    velocity = random_latents(3).map(lambda x: x.requires_grad_())
    flow_matching_loss(velocity, made).video.sum().backward()
    assert velocity.video.grad is not None
    assert velocity.video.grad[:, :, 0].abs().max() == 0 and velocity.video.grad[:, :, 1].abs().min() > 0
