"""Batched sound: damped modes, shaped noise and grains, placed at exact times.

Waveforms are [B, S] at 24 kHz; the sound of single events is [B, E, G], G samples for each of E events. Noise comes
from a CPU generator seeded by the plan, so it is the same on every device and in every batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes.scene import SAMPLE_RATE, Plan

ATTACK = 0.0008
"""Seconds from silence to full level of an event: sharp to the ear and to any onset detector."""

GRAIN = 0.012
"""Seconds in which a grain of a crunch falls to 1/e."""

SILENCE = 0.0008
"""Level (rms) of the quiet hiss under everything: digital silence has no logarithm."""


@dataclasses.dataclass(frozen=True)
class Timbre:
    """The sound of one kind of contact."""

    modes: tuple[tuple[float, float, float], ...] = ()
    """Damped sines: (Hz, seconds to fall to 1/e, level)."""
    noise: tuple[tuple[float, float, float, float], ...] = ()
    """Noise bands: (lower Hz, upper Hz, seconds to fall to 1/e, level)."""
    grains: tuple[int, float] = (0, 0.0)
    """Number of short crackles that break the noise up, and the seconds over which they are spread."""
    length: float = 0.25
    """Seconds after which nothing is left."""


def generators(plans: Sequence[Plan]) -> list[torch.Generator]:
    """A generator for each plan, on the CPU."""
    return [torch.Generator("cpu").manual_seed(plan.seed) for plan in plans]


def hiss(plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
    """White noise of unit variance for each plan, [B, samples]."""
    return torch.stack([torch.randn(samples, generator=generator, device="cpu") for generator in generators(plans)]).to(
        device
    )


def contacts(plans: Sequence[Plan], timbres: Sequence[Timbre], samples: int, device: torch.device | str) -> Tensor:
    """Every event of ``motion["times"]`` and ``["strengths"]`` with the timbre of its plan, [B, samples]."""
    wave = hiss(plans, samples, device) * SILENCE
    for row, (plan, timbre, generator) in enumerate(zip(plans, timbres, generators(plans), strict=True)):
        if not plan.motion["times"]:
            continue
        times = torch.tensor(plan.motion["times"], dtype=torch.float64, device=device)
        levels = torch.tensor(plan.motion["strengths"], device=device)
        events = strike(timbre, len(times), generator, device)
        events = events / events.abs().amax(-1, keepdim=True) * (0.25 + 0.5 * levels[:, None])
        wave[row] += place(events[None], times[None], samples)[0]
    return limit(wave)


def strike(timbre: Timbre, events: int, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """The sound of ``events`` contacts, [events, G]; each has noise of its own."""
    count = round(timbre.length * SAMPLE_RATE)
    after = torch.arange(count, device=device) / SAMPLE_RATE
    sound = torch.zeros(events, count, device=device)
    for hertz, decay, level in timbre.modes:
        sound += level * torch.sin(2 * torch.pi * hertz * after) * torch.exp(-after / decay)
    noise = torch.randn(events, count, generator=generator, device="cpu").to(device)
    crackle = _crackle(timbre, events, after, generator)
    for low, high, decay, level in timbre.noise:
        sound += level * band(noise, low, high) * torch.exp(-after / decay) * crackle
    fade = ((timbre.length - after) / (0.2 * timbre.length)).clamp(max=1)
    return sound * (after / ATTACK).clamp(max=1) * fade


def band(noise: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Noise [..., S] of unit variance within a band in Hz (numbers or [B, 1]); the slopes are half an octave wide."""
    samples = noise.shape[-1]
    hertz = torch.fft.rfftfreq(samples, 1 / SAMPLE_RATE, device=noise.device).clamp(min=1)
    gain = torch.sigmoid(8 * torch.log2(hertz / low)) * torch.sigmoid(8 * torch.log2(high / hertz))
    shaped = torch.fft.irfft(torch.fft.rfft(noise) * gain, n=samples)
    return shaped / gain.square().mean().sqrt()


def place(events: Tensor, times: Tensor, samples: int) -> Tensor:
    """Sum of events [B, E, G] started at ``times`` [B, E] (seconds), [B, samples]; what runs over the end is cut."""
    batch, _, count = events.shape
    start = (times * SAMPLE_RATE).round().long()
    index = start[:, :, None] + torch.arange(count, device=events.device)
    inside = (index >= 0) & (index < samples)
    wave = torch.zeros(batch, samples, device=events.device)
    return wave.scatter_add_(1, index.clamp(0, samples - 1).flatten(1), (events * inside).flatten(1))


def limit(wave: Tensor, ceiling: float = 0.95) -> Tensor:
    """Waveforms whose peak would pass the ceiling are turned down as a whole."""
    return wave * (ceiling / wave.abs().amax(-1, keepdim=True).clamp(min=ceiling))


def _crackle(timbre: Timbre, events: int, after: Tensor, generator: torch.Generator) -> Tensor:
    """Level over time of noise broken up into grains: the first at the contact, the others at random after it."""
    count, spread = timbre.grains
    if not count:
        return torch.ones_like(after)
    starts = torch.rand(events, count, 1, generator=generator, device="cpu").square() * spread
    starts[:, 0] = 0
    levels = (0.3 + 0.3 * torch.rand(events, count, 1, generator=generator, device="cpu")) * (1 - 0.6 * starts / spread)
    levels[:, 0] = 1
    since = after - starts.to(after.device)
    return (levels.to(after.device) * torch.exp(-since.clamp(min=0) / GRAIN) * (since >= 0)).sum(1)
