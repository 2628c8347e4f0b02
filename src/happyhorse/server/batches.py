"""Several previews in one pass of the model: on a GPU the small model leaves most of it idle for a single clip.

A clip made so is the one that its seed makes alone, up to rounding (the order of sums in matrix products); its recipe
says so. On a CPU a batch takes as long as its clips one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from happyhorse.clip import Clip
from happyhorse.flow.guidance import GuidanceScale, guide
from happyhorse.flow.timesteps import grid
from happyhorse.sampling import samplers
from happyhorse.sampling.given import SAMPLE_RATE
from happyhorse.sampling.pipeline import NOTHING, Pipeline, Progress, Stopwatch, draw_noise
from happyhorse.sampling.request import Request
from happyhorse.server.orders import Order
from happyhorse.types import Latents

SAMPLERS = ("euler", "unipc")
"""Samplers that draw no noise on their way: what they draw would not be that of the clip alone."""


def fits_batch(order: Order) -> bool:
    """Whether a clip can be made together with others that differ in prompt and seed."""
    return not (order.media or order.loop or order.rendered) and order.sampler in SAMPLERS


def make_together(pipeline: Pipeline, requests: Sequence[Request], progress: Progress | None = None) -> list[Clip]:
    """The clips of requests that differ in nothing but prompt, negative prompt and seed."""
    watch, shape = Stopwatch(progress), requests[0].shape
    with torch.inference_mode():
        latents = denoise_together(pipeline, requests, watch)
        alone = [latents[number : number + 1] for number in range(len(requests))]
        decoded = [pipeline.decode(one, shape, watch) for one in alone]
    spent = {stage: round(seconds / len(requests), 3) for stage, seconds in watch.seconds.items()}
    return [
        Clip(frames, audio, shape.fps, SAMPLE_RATE, _recipe(pipeline, request, len(requests)), spent, one)
        for request, one, (frames, audio) in zip(requests, alone, decoded, strict=True)
    ]


def denoise_together(pipeline: Pipeline, requests: Sequence[Request], watch: Stopwatch) -> Latents:
    """Clean latents [B, ...], each from the noise of its own seed."""
    first, scale = requests[0], GuidanceScale(*requests[0].guidance)
    assert first.sampler in SAMPLERS, first.sampler
    noise = _joined(
        [draw_noise(request.shape, torch.Generator().manual_seed(request.seed)) for request in requests]
    ).to(pipeline.device)
    prompts = [request.prompt for request in requests]
    if not scale.is_plain:
        prompts += [request.negative for request in requests]
    with watch.stage("denoise", first.steps) as advance:
        field = _Field(pipeline, pipeline.parts.text.batch(prompts).to(pipeline.device), noise, scale, first.steps)
        sigmas = grid(first.steps, first.shift)
        fields = [field.at(sigma) for sigma in sigmas[:-1]]
        sampler = samplers.BY_NAME[first.sampler]
        return sampler(fields, noise, sigmas, on_step=lambda done, _: advance(done))


class _Field:
    """The guided velocity of a batch: prompts go through the model with their negative prompts, as one batch of 2 B."""

    def __init__(self, pipeline: Pipeline, text: Any, noise: Latents, scale: GuidanceScale, steps: int) -> None:
        model: Any = pipeline.parts.model
        self._scale, self._count, self._copies = scale, len(noise.video), 1 if scale.is_plain else 2
        self._text = model.encode_text(text) if model.config.text == "tokens" else text
        batch = _joined([noise] * self._copies)
        self._layout = model.layout(batch, self._text)
        self._model = pipeline.compiling.pick(batch, self._text, self._layout, steps)

    def at(self, sigma: float):
        timed = self._model.config.timestep == "embedded"

        def velocity(latents: Latents) -> Latents:
            rows = self._copies * self._count
            times = torch.full((rows, 2), sigma, device=latents.video.device) if timed else None
            found = self._model(_joined([latents] * self._copies), self._text, self._layout, times)
            if self._scale.is_plain:
                return found
            return guide(found[: self._count], found[self._count :], self._scale)

        return velocity


def _joined(parts: Sequence[Latents]) -> Latents:
    return Latents(torch.cat([part.video for part in parts]), torch.cat([part.audio for part in parts]))


def _recipe(pipeline: Pipeline, request: Request, count: int) -> dict[str, Any]:
    return {**pipeline.made_by(), **request.recipe(), **NOTHING.sources(), "batch": count}
