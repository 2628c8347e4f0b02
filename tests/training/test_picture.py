"""The video codec's closed-form part and its losses."""

import math

import pytest
import torch

from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.data.pool import Pool, PoolGroup
from happyhorse.training.picture import (
    autoencoder_loss,
    decoder_loss,
    fit_patches,
    gaussian_divergence,
    measure_latent_scale,
    picture_distance,
    principal_components,
    psnr,
    spatial_gradients,
)

SMALL = VideoCodecConfig(encoder_fine=8, encoder_coarse=8, decoder_coarse=8, decoder_middle=8, decoder_fine=8)
POOL = (PoolGroup(height=32, width=32, clips=6, frames=17, batch=2),)


def pool() -> Pool:
    return Pool(POOL, 0, "train", lambda done, total: None)


def test_divergence_of_unit_noise_is_zero_and_grows_with_the_mean():
    zeros = torch.zeros(2, 48, 3, 4, 4)
    assert gaussian_divergence(zeros, zeros) == 0
    torch.testing.assert_close(gaussian_divergence(zeros + 1, zeros), torch.tensor(24.0))  # 48 channels, 1/2 each


def test_psnr_of_a_known_error():
    assert math.isclose(psnr(4e-3), 30.0)


def test_gradients_of_a_ramp():
    ramp = torch.arange(5.0).expand(1, 1, 1, 4, 5)
    right, down = spatial_gradients(ramp)
    assert torch.all(right == 1) and torch.all(down == 0)


def test_components_find_the_axes_and_halve_their_spread():
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6))[0]
    variances = torch.tensor([100.0, 9.0, 1.0, 0.1, 0.01, 0.001])
    components, scales = principal_components(axes @ torch.diag(variances) @ axes.T, 3)
    torch.testing.assert_close((components @ axes[:, :3]).abs(), torch.eye(3), atol=1e-4, rtol=0)
    scaled = scales * variances[:3].sqrt()
    torch.testing.assert_close(scaled.square().mean(), torch.tensor(1.0))
    torch.testing.assert_close(scaled[0] / scaled[1], (variances[0] / variances[1]) ** 0.25)


@torch.no_grad()
def test_the_linear_part_alone_reconstructs_what_it_spans():
    clips = pool()
    codec = VideoCodec(SMALL)
    fit_patches(codec, clips, torch.Generator().manual_seed(0), batches=20)
    frames = clips.batch(17, torch.Generator().manual_seed(9))
    error = (codec.decode(codec.encode(frames)) - frames).square().mean().item()
    grey = (frames.mean() - frames).square().mean().item()
    assert psnr(error) > psnr(grey) + 10


@torch.no_grad()
def test_the_scale_makes_latents_of_unit_size():
    clips = pool()
    codec = VideoCodec(SMALL)
    fit_patches(codec, clips, torch.Generator().manual_seed(0), batches=20)
    measure_latent_scale(codec, clips, torch.Generator().manual_seed(1), batches=10)
    latent = codec.encode(clips.batch(17, torch.Generator().manual_seed(2)))
    used = latent.square().mean(dim=(0, 2, 3, 4)) > 0.02
    assert 0.3 < latent[:, used].square().mean() < 3


def test_the_decoder_alone_is_trained_by_its_loss():
    codec = VideoCodec(SMALL)
    codec.encoder.requires_grad_(False)
    loss, figures = decoder_loss(codec, pool().batch(17, torch.Generator().manual_seed(0)), torch.Generator())
    loss.backward()
    assert figures.keys() == {"psnr", "gradients"}
    assert codec.decoder.conv_in.weight.grad is not None
    assert all(parameter.grad is None for parameter in codec.encoder.parameters())


def test_the_decoder_alone_meets_noise():
    codec, frames = VideoCodec(SMALL), pool().batch(17, torch.Generator().manual_seed(0))
    losses = {decoder_loss(codec, frames, torch.Generator().manual_seed(seed))[0].item() for seed in range(3)}
    assert len(losses) == 3, "the latents are the same whatever is drawn"


def test_a_picture_as_bright_but_grainy_costs_by_its_gradients():
    flat = torch.zeros(1, 3, 1, 8, 8)
    grainy = 0.1 * (torch.arange(8) % 2 * 2 - 1).expand(1, 3, 1, 8, 8)
    found = [picture_distance(grainy, flat, weight)[0].item() for weight in (0.0, 0.5)]
    # Neighbours to the right differ by 0.2 everywhere, those below not at all.
    assert found == pytest.approx([0.01, 0.01 + 0.5 * 0.1])


def test_autoencoder_loss_reaches_both_ends():
    codec = VideoCodec(SMALL)
    autoencoder_loss(codec, pool().batch(17, torch.Generator().manual_seed(0)), torch.Generator())[0].backward()
    gradients = [p.grad for p in (*codec.encoder.parameters(), *codec.decoder.parameters())]
    assert all(gradient is not None for gradient in gradients)
