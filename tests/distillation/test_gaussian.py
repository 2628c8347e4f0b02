"""Distilling a Gaussian of two streams, whose scores are known: the student recovers how both belong together."""

import pytest
import torch
from torch import Tensor

from happyhorse.distillation.dmd import draw_times, gradient, matching_loss, renoise
from happyhorse.flow.timesteps import grid
from happyhorse.sampling.samplers import dmd
from happyhorse.types import Latents

COVARIANCE = torch.tensor([[1.0, 0.7], [0.7, 0.8]], dtype=torch.float64)
"""Of one picture number and one sound number."""


def velocity(x: Tensor, t: Tensor, covariance: Tensor) -> Tensor:
    """Exact E[e - x0 | x_t] of points x [B, 2] at levels t [B]: with C = (1 - t)^2 S + t^2, (t - (1 - t) S) C^-1 x."""
    level, one = t[:, None, None], torch.eye(2, dtype=x.dtype)
    spread = (1 - level) ** 2 * covariance + level**2 * one
    towards = level * one - (1 - level) * covariance
    return (towards @ torch.linalg.solve(spread, x[:, :, None]))[:, :, 0]


def streams(x: Tensor) -> Latents:
    return Latents(x[:, 0].view(-1, 1, 1, 1, 1), x[:, 1].view(-1, 1, 1))


def points(latents: Latents) -> Tensor:
    return torch.stack([latents.video.flatten(), latents.audio.flatten()], dim=1)


def flow_map(x: Tensor, t: float) -> Tensor:
    """Velocity (x_t - x0) / t to where the exact flow ends: x0 = S^1/2 C^-1/2 x_t (both commute)."""
    spread = (1 - t) ** 2 * COVARIANCE + t**2 * torch.eye(2, dtype=x.dtype)
    ratio = root(COVARIANCE) @ torch.linalg.inv(root(spread))
    return (x - x @ ratio.T) / t


def root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors @ torch.diag(values.sqrt()) @ vectors.T


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_sampler_with_the_exact_flow_map_returns_the_gaussian_in_any_number_of_steps(steps):
    generator = torch.Generator().manual_seed(0)
    noise = streams(torch.randn(20_000, 2, generator=generator, dtype=torch.float64))
    sigmas = grid(steps, 5.0)
    fields = [lambda x, t=t: streams(flow_map(points(x), t)) for t in sigmas[:-1]]
    found = dmd(fields, noise, sigmas, generator=generator)
    torch.testing.assert_close(torch.cov(points(found).T), COVARIANCE, atol=0.03, rtol=0)


def test_a_student_of_one_step_learns_the_cross_covariance_and_not_only_the_margins():
    """x = A e; the fake score is that of A's own Gaussian, exactly. It begins with independent streams."""
    generator = torch.Generator().manual_seed(0)
    student = torch.eye(2, dtype=torch.float64).mul_(0.5).requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.01)
    for _ in range(800):
        data = torch.randn(512, 2, generator=generator, dtype=torch.float64) @ student.T
        times = draw_times(512, 3.0, 0.02, 0.98, generator).double()
        noise = torch.randn(512, 2, generator=generator, dtype=torch.float64)
        point = renoise(streams(data.detach()), streams(noise), times)
        x, own = points(point.noisy), (student @ student.T).detach()
        real, fake = (streams(velocity(x, times, covariance)) for covariance in (COVARIANCE, own))
        loss = torch.zeros((), dtype=torch.float64)
        for stream in ("video", "audio"):
            parts = (getattr(part, stream) for part in (real, fake, point.target, point.unknown))
            loss = loss + matching_loss(getattr(streams(data), stream), gradient(*parts, floor=0.5)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close((student @ student.T).detach(), COVARIANCE, atol=0.1, rtol=0)
