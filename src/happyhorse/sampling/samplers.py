"""From noise to latents along a list of noise levels. All samplers have one signature.

``velocity`` is one field for all steps, or a sequence of one field per step (a guidance scale that changes with t).
``sigmas`` are noise levels from about 1 down to 0, one more than there are steps. ``known`` parts are put in place
before every call of the field and at the end. ``on_step(done, steps)`` is called after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from happyhorse.flow.guidance import Velocity
from happyhorse.flow.path import data_from_velocity, noise_from_velocity
from happyhorse.types import Known, Latents

Field = Velocity | Sequence[Velocity]
OnStep = Callable[[int, int], None]


def euler(
    velocity: Field,
    noise: Latents,
    sigmas: Sequence[float],
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Latents:
    """Straight steps x_s = x_t + (s - t) v: first order, deterministic; ``generator`` is not used."""
    shares = [0.0] * (len(sigmas) - 1)
    return renoise(velocity, noise, sigmas, shares, known=known, generator=generator, on_step=on_step)


def dmd(
    velocity: Field,
    noise: Latents,
    sigmas: Sequence[float],
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Latents:
    """Predicts clean latents, then noises them afresh: the sampler of distilled models (DMD2, arXiv 2405.14867).

    Draws fresh noise in every step, the last one included, video before audio.
    """
    shares = [1.0] * (len(sigmas) - 1)
    return renoise(velocity, noise, sigmas, shares, known=known, generator=generator, on_step=on_step)


def renoise(
    velocity: Field,
    noise: Latents,
    sigmas: Sequence[float],
    shares: Sequence[float],
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Latents:
    """Steps that keep a part of the noise they found and draw the rest: ``shares[k]`` is the amplitude of fresh noise.

    x_s = (1 - s) x0 + s (sqrt(1 - share^2) e + share n). Share 0 is Euler's step and draws nothing, share 1 is ``dmd``.
    """
    steps = _steps(velocity, sigmas)
    latents = noise
    for k, field in enumerate(steps):
        latents = _paste(known, latents)
        v, t, s = field(latents), sigmas[k], sigmas[k + 1]
        data = latents.zip(v, lambda x, v, t=t: data_from_velocity(x, v, t))
        rest = latents.zip(v, lambda x, v, t=t: noise_from_velocity(x, v, t))
        if shares[k] > 0:
            kept = math.sqrt(1 - shares[k] ** 2)
            rest = _sum((kept, rest), (shares[k], fresh_noise(latents, generator)))
        latents = _sum((1 - s, data), (s, rest))
        _report(on_step, k + 1, len(steps))
    return _paste(known, latents)


def unipc(
    velocity: Field,
    noise: Latents,
    sigmas: Sequence[float],
    *,
    known: Known | None = None,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Latents:
    """UniPC (Zhao et al. 2023, arXiv 2302.04867), order 2, B2(h) = e^h - 1, predicting data; deterministic.

    Each step first corrects the state it was given with the new prediction, then predicts the next state. The first
    and the last step predict at order 1; the last one returns the predicted data.
    """
    steps = _steps(velocity, sigmas)
    latents, corrected, order = noise, noise, 1
    past: list[Latents] = []
    for k, field in enumerate(steps):
        latents = _paste(known, latents)
        data = latents.zip(field(latents), lambda x, v, t=sigmas[k]: data_from_velocity(x, v, t))
        past = [*past[-2:], data]
        if k > 0:
            latents = _correct(corrected, past, sigmas[max(k - 2, 0) : k + 1], order)
        corrected = latents
        order = 1 if k in (0, len(steps) - 1) else 2
        latents = _predict(corrected, past, sigmas[max(k - 1, 0) : k + 2], order)
        _report(on_step, k + 1, len(steps))
    return _paste(known, latents)


BY_NAME = {"euler": euler, "unipc": unipc, "dmd": dmd}
"""The samplers, as requests and manifests name them."""


# ------------------------------------------------------------------------------------------------------ UniPC's parts
def _predict(state: Latents, past: Sequence[Latents], sigmas: Sequence[float], order: int) -> Latents:
    """The state at sigmas[-1] from the state at sigmas[-2]; ``past`` data predictions, newest last."""
    t, s = sigmas[-2:]
    width = _log_snr(s) - _log_snr(t)
    if order == 1:
        return _advance(state, [(1.0, past[-1])], t, s)
    ratio = (_log_snr(sigmas[-3]) - _log_snr(t)) / width
    return _advance(state, [(1 - 0.5 / ratio, past[-1]), (0.5 / ratio, past[-2])], t, s)


def _correct(state: Latents, past: Sequence[Latents], sigmas: Sequence[float], order: int) -> Latents:
    """The state at sigmas[-1] again, now that its data prediction ``past[-1]`` is known; ``state`` is at sigmas[-2]."""
    t, s = sigmas[-2:]
    if order == 1:
        return _advance(state, [(0.5, past[-1]), (0.5, past[-2])], t, s)
    width = _log_snr(s) - _log_snr(t)
    ratio = (_log_snr(sigmas[-3]) - _log_snr(t)) / width
    first, second = _corrector_weights(width, ratio)
    older = first / ratio
    return _advance(state, [(second, past[-1]), (1 - second - older, past[-2]), (older, past[-3])], t, s)


def _corrector_weights(width: float, ratio: float) -> tuple[float, float]:
    """Weights of the older and the newest difference: [[1, 1], [ratio, 1]] rho = [b1, b2]."""
    growth = math.expm1(-width)
    phi = growth / -width - 1
    b1, b2 = phi / growth, 2 * (phi / -width - 0.5) / growth
    first = (b1 - b2) / (1 - ratio)
    return first, b1 - first


def _advance(state: Latents, weighted: Sequence[tuple[float, Latents]], t: float, s: float) -> Latents:
    """Exponential-integrator step from level t to s when the data prediction is the weighted sum."""
    growth = -(1 - s) * math.expm1(_log_snr(t) - _log_snr(s))
    return _sum((s / t, state), *((growth * weight, data) for weight, data in weighted))


def _log_snr(sigma: float) -> float:
    """log((1 - sigma) / sigma), infinite at 0 and kept finite at 1."""
    if sigma == 0:
        return math.inf
    return math.log(max(1 - sigma, 1e-7) / sigma)


# ------------------------------------------------------------------------------------------------------- shared parts
def fresh_noise(like: Latents, generator: torch.Generator | None) -> Latents:
    """Normal noise in the shape of ``like``, video drawn before audio, on the generator's device and then moved."""

    def draw(stream: Tensor) -> Tensor:
        device = stream.device if generator is None else generator.device
        return torch.randn(stream.shape, generator=generator, device=device).to(stream.device)

    return like.map(draw)


def _steps(velocity: Field, sigmas: Sequence[float]) -> Sequence[Velocity]:
    count = len(sigmas) - 1
    steps = [velocity] * count if callable(velocity) else velocity
    assert len(steps) == count, f"{len(steps)} fields for {count} steps"
    return steps


def _paste(known: Known | None, latents: Latents) -> Latents:
    return latents if known is None else known.paste(latents)


def _sum(*weighted: tuple[float, Latents]) -> Latents:
    """Weighted sum of Latents."""
    (weight, total), *others = weighted
    result = total.map(lambda x: weight * x)
    for weight, latents in others:
        result = result.zip(latents, lambda x, y, w=weight: x + w * y)
    return result


def _report(on_step: OnStep | None, done: int, steps: int) -> None:
    if on_step is not None:
        on_step(done, steps)
