"""Scenes drawn, encoded and described on the fly: for machines that draw faster than they train."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from happyhorse.codecs.codec import Codecs
from happyhorse.data.batch import Batch, draw_prompts, seeded
from happyhorse.data.scenes.captions import caption
from happyhorse.data.scenes.world import sample_plan
from happyhorse.data.shards import encode_plans
from happyhorse.types import ClipShape, Latents


class SceneStream:
    """Batches of scenes that are never seen twice; the same interface as a cache."""

    def __init__(
        self,
        codecs: Codecs,
        device: torch.device | str,
        seed: int = 0,
        prompt_dropout: float = 0.1,
        split: str = "train",
        render_batch: int = 16,
        families: Mapping[ClipShape, str | None] | None = None,
    ) -> None:
        """``families`` names the one family that scenes of a shape show; of other shapes they show all."""
        self.codecs, self.device, self.seed = codecs, device, seed
        self.families = families or {}
        self.prompt_dropout, self.split, self.render_batch = prompt_dropout, split, render_batch

    def batch(self, step: int, shape: ClipShape, size: int) -> Batch:
        """``size`` scenes whose seeds follow from the run's seed and the step."""
        rng = seeded("stream", self.seed, step)
        seconds = shape.frames / shape.fps
        family = self.families.get(shape)
        plans = [sample_plan(rng.getrandbits(48), seconds, self.split, family) for _ in range(size)]
        chunks = [plans[start : start + self.render_batch] for start in range(0, size, self.render_batch)]
        parts = [encode_plans(chunk, shape, self.codecs, self.device) for chunk in chunks]
        latents = Latents(torch.cat([part.video for part in parts]), torch.cat([part.audio for part in parts]))
        clips = [(plan.family, plan.attributes) for plan in plans]
        prompts = draw_prompts(clips, self.prompt_dropout, self.seed, step)
        return Batch(latents, prompts, tuple(caption(*clip) for clip in clips))
