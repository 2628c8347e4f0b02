"""What shows early that a distillation goes wrong: a few clips of every candidate, on the way.

A student that falls silent, makes one clip for all seeds, changes the loudness or stops speaking looks well in its own
losses. These figures are too few to choose by; ``happyhorse evaluate`` is for that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.config import ModelConfig
from happyhorse.evaluation.fidelity import lufs, spread
from happyhorse.evaluation.measure import Case, make_cases
from happyhorse.evaluation.readings import SILENT_DBFS, loudness
from happyhorse.evaluation.recognisers import FoalAsr, Recogniser
from happyhorse.evaluation.transcripts import Errors, counted_errors
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.distill import DistillConfig
from happyhorse.sampling.pipeline import NOTHING, Parts, Pipeline, Stopwatch, load_parts
from happyhorse.sampling.request import make_request
from happyhorse.types import Latents
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import load_config, load_module

SEEDS = 2
"""Clips of each prompt."""
TALKERS = 2
"""Talkers beyond the one that every family has."""


@dataclasses.dataclass(frozen=True)
class Take:
    """A clip that was made, as latents and as sound."""

    case: Case
    latents: Latents
    waveform: NDArray[np.float32]


class Alarms:
    """Figures of a candidate: call it with the weight file."""

    def __init__(self, parts: Parts, seconds: float = 5.0, ear: Recogniser | None = None) -> None:
        """``parts`` are the teacher's, with the student's way of sampling."""
        self.parts, self.ear = parts, ear or FoalAsr()
        talkers = make_cases(1 + TALKERS, seconds, 0, ["talker"])[1:]
        self.cases = [*make_cases(1, seconds, 0), *talkers]

    @classmethod
    def of(cls, config: DistillConfig) -> Alarms:
        """Those of a recipe."""
        parts = load_parts(resolve(config.teacher), torch.device("cpu"))
        asked = {"steps": config.steps, "shift": config.shift, "sampler": config.sampler}
        sampling = parts.sampling.replace(**asked, guidance_video=1.0, guidance_audio=1.0)
        return cls(dataclasses.replace(parts, sampling=sampling), max(shape.seconds for shape in config.stage.shapes))

    def __call__(self, weights: Path) -> dict[str, float]:
        """Shares of silent clips and of errors in speech, mean loudness in LUFS, and how far seeds lie apart."""
        model = Transformer(load_config(ModelConfig, weights))
        load_module(model, weights)
        pipeline = Pipeline(dataclasses.replace(self.parts, model=model.eval()))
        takes = [list(self._takes(pipeline, case)) for case in self.cases]
        every = [take for group in takes for take in group]
        return {
            "silent": float(np.mean([loudness(take.waveform) < SILENT_DBFS for take in every])),
            "loudness": float(np.mean([lufs(take.waveform) for take in every])),
            "speech errors": self._errors([take for take in every if take.case.plan.family == "talker"]),
            "spread, picture": float(np.mean([_spread([take.latents.video for take in group]) for group in takes])),
            "spread, sound": float(np.mean([_spread([take.latents.audio for take in group]) for group in takes])),
        }

    def _takes(self, pipeline: Pipeline, case: Case) -> Iterator[Take]:
        for seed in range(SEEDS):
            request = make_request(self.parts.sampling, case.prompt, seconds=case.plan.seconds, seed=seed)
            with torch.inference_mode():
                latents = pipeline.generate_latents(request, NOTHING, Stopwatch())
                yield Take(case, latents, self.parts.audio.decode(latents.audio)[0].float().numpy())

    def _errors(self, talkers: list[Take]) -> float:
        """Errors over units, words and characters together."""
        counted: list[Errors] = []
        for take in talkers:
            language, sentence = (take.case.plan.attributes[name] for name in ("language", "sentence"))
            heard = self.ear.transcribe(take.waveform, language)
            counted += counted_errors(language, sentence, heard).values()
        return sum(min(one.wrong, one.units) for one in counted) / sum(one.units for one in counted)


def _spread(clips: list[torch.Tensor]) -> float:
    """Mean distance of two clips' latents, per value: 1.4 for noise."""
    flat = [clip.flatten().double()[None].numpy() for clip in clips]
    return spread(flat) / flat[0].size ** 0.5
