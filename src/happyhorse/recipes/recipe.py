"""What a training run is: every choice of it, frozen."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math

from happyhorse.config import Config, ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.types import ClipShape


@dataclasses.dataclass(frozen=True)
class Stage(Config):
    """A part of the curriculum."""

    steps: int
    """Optimiser steps."""
    batch: int
    """Samples in a step of the largest shape; all samples of a step have one shape."""
    shapes: tuple[ClipShape, ...]
    """Shapes of which each step draws one; a shape listed twice is drawn twice as often."""

    def samples(self, shape: ClipShape) -> int:
        """Samples in a step of ``shape``: as many as cost what ``batch`` of the largest shape cost, in media tokens."""
        return round(self.batch * max(other.tokens for other in self.shapes) / shape.tokens)


@dataclasses.dataclass(frozen=True)
class CacheSet(Config):
    """Scenes of one shape that are rendered and encoded once, before training."""

    shape: ClipShape
    """Duration and picture size."""
    clips: int
    """Number of clips."""
    family: str | None = None
    """The one family that they show; all of them, in their shares, unless given."""


@dataclasses.dataclass(frozen=True)
class NoiseLaw(Config):
    """How noise levels are drawn: ``t = shift(sigmoid(z))``, z ~ N(0, 1), t = 1 is noise."""

    shift: float = 3.0
    """Odds of t are multiplied by this: 3 suits up to about a thousand tokens, 5 above four thousand."""
    uniform: float = 0.1
    """Share of samples whose t is uniform in [0, 1] instead, so that both ends stay trained."""
    independent: float = 0.1
    """Share of samples in which video and audio draw their own t; the others share one."""
    sound_after: bool = False
    """Picture first, sound afterwards: wherever the picture is not given, the sound is pure noise and not asked for.
    For comparison only."""


@dataclasses.dataclass(frozen=True)
class KnownShares(Config):
    """Shares of samples in which a part is given clean, and so left out of the loss; they exclude one another."""

    first_frame: float = 0.15
    """The first latent frame of the video: image to video."""
    last_frame: float = 0.03
    """The last latent frame of the video, in half of them together with the first."""
    audio: float = 0.075
    """All of the sound: video from sound."""
    video: float = 0.075
    """All of the picture: sound from video."""
    prefix: float = 0.04
    """The beginning of both, up to half of the clip: continuation."""

    def __post_init__(self) -> None:
        total = sum(self.to_dict().values())
        if min(self.to_dict().values()) < 0 or total > 1:
            raise ConfigError(f"shares of known parts must be 0 or more and sum to at most 1; they sum to {total:g}")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Config):
    """The optimiser and its schedule."""

    kind: str = "adamw"
    """"adamw" for all parameters, or "muon" for the matrices of the blocks with AdamW for the rest."""
    learning_rate: float = 1e-3
    """Peak learning rate; Muon's updates are scaled to the size of AdamW's, so that one rate serves both."""
    warmup: float = 0.02
    """Share of the steps over which the rate rises linearly from zero."""
    final: float = 0.02
    """The rate at the last step as a share of the peak; a half cosine leads there."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averages of the gradient and of its square."""
    weight_decay: float = 0.01
    """Decoupled decay of matrices; vectors and embeddings have none."""
    clip: float = 1.0
    """Largest norm of the whole gradient; longer ones are scaled down."""
    momentum: float = 0.95
    """Muon's (Nesterov) momentum."""
    newton_schulz_steps: int = 5
    """Iterations of Muon's orthogonalisation; each costs three matrix products for every weight matrix."""

    def __post_init__(self) -> None:
        if self.kind not in ("adamw", "muon"):
            raise ConfigError(f'optimizer kind "{self.kind}" is unknown; choose "adamw" or "muon"')


@dataclasses.dataclass(frozen=True)
class SampleConfig(Config):
    """Clips that are generated during training, for people to look at."""

    every: int = 2000
    """Steps between two sets of clips; 0 makes none."""
    prompts: tuple[str, ...] = ()
    """What is asked for."""
    shape: ClipShape = dataclasses.field(default_factory=lambda: ClipShape(5, 64, 64))
    """Duration and picture size."""
    steps: int = 20
    """Euler steps."""
    guidance: float = 3.0
    """Guidance scale of both modalities."""


@dataclasses.dataclass(frozen=True)
class CaptionConfig(Config):
    """Learning to write what a clip shows, beside making it (Zhou et al. 2024, "Transfusion", arXiv 2408.11039)."""

    share: float = 0.0
    """Share of the steps that learn it too; 0 for a model without a language head."""
    weight: float = 0.1
    """Weight of the mean cross-entropy of a caption's tokens in such a step."""
    noise: float = 0.3
    """Clips are noised up to this level."""


@dataclasses.dataclass(frozen=True)
class TrainConfig(Config):
    """One training run of a generator."""

    name: str
    """The recipe's name."""
    model: ModelConfig
    """The model."""
    stages: tuple[Stage, ...]
    """The curriculum, in order."""
    caches: tuple[CacheSet, ...] = ()
    """Latents to make before training; a run that draws its scenes on the fly makes none."""
    seed: int = 0
    """Everything random in the run follows from this and the number of the step."""
    noise: NoiseLaw = NoiseLaw()
    """The law of the noise levels."""
    known: KnownShares = KnownShares()
    """How often which part is given."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser and its schedule."""
    prompt_dropout: float = 0.1
    """Share of samples that see the null prompt, which guidance needs."""
    audio_weight: float = 1.0
    """Weight of the sound's loss against the picture's."""
    captions: CaptionConfig = CaptionConfig()
    """Whether the model also learns to describe clips."""
    ema_decay: float = 0.9995
    """Decay of the weights' moving average, which is what is kept in the end; short runs use a faster one."""
    text_multiple: int = 16
    """Token rows are padded to a multiple of this, so that few shapes are ever compiled."""
    gpu_scale: int = 16
    """Factor of the batch on a GPU (see ``scaled``)."""
    compile: bool = False
    """Compile the model's layers (some minutes, once, for all shapes)."""
    recompute: str = "none"
    """What the backward pass makes again instead of keeping it: "none"; "cheap", all but products and attention;
    "full", whole layers."""
    log_every: int = 50
    """Steps between two lines of progress."""
    checkpoint_every: int = 500
    """Steps between two checkpoints."""
    samples: SampleConfig = SampleConfig()
    """Clips made on the way."""

    def __post_init__(self) -> None:
        if not self.stages or min(min(stage.steps, stage.batch) for stage in self.stages) < 1:
            raise ConfigError(f"recipe {self.name}: every stage needs at least one step and one sample")
        if not all(stage.shapes for stage in self.stages):
            raise ConfigError(f"recipe {self.name}: every stage needs at least one shape")
        if self.captions.share and not self.model.language_head:
            raise ConfigError(f"recipe {self.name}: a model without a language head writes no captions")
        if self.recompute not in ("none", "cheap", "full"):
            raise ConfigError(f'recipe {self.name}: recompute is "{self.recompute}"; choose "none", "cheap" or "full"')

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage that ``step`` (counted from 0) belongs to."""
        ends = itertools.accumulate(stage.steps for stage in self.stages)
        return next(stage for stage, end in zip(self.stages, ends, strict=True) if step < end)

    def scaled(self, scale: int) -> TrainConfig:
        """The same run with ``scale`` times the batch.

        Adam's update keeps its statistics when the rate grows with the root of the batch (Malladi et al. 2022, "On the
        SDEs and scaling rules for adaptive gradient algorithms"). Steps stay: the run sees ``scale`` times the samples.
        """
        stages = tuple(stage.replace(batch=stage.batch * scale) for stage in self.stages)
        rate = self.optimizer.learning_rate * math.sqrt(scale)
        return self.replace(stages=stages, optimizer=self.optimizer.replace(learning_rate=rate))

    def with_steps(self, steps: int) -> TrainConfig:
        """The same run in ``steps`` steps, every stage keeping its share (and at least one step)."""
        begun, stages = 0, []
        for place, end in enumerate(itertools.accumulate(stage.steps for stage in self.stages)):
            left = len(self.stages) - 1 - place  # stages that follow, each of at least one step
            end = max(begun + 1, min(round(end * steps / self.steps), steps - left))
            stages.append(self.stages[place].replace(steps=end - begun))
            begun = end
        return self.replace(stages=tuple(stages))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when anything that changes the numbers of the run differs."""
        values = dataclasses.asdict(self)
        for name in ("log_every", "checkpoint_every", "samples", "compile", "recompute", "name", "gpu_scale", "caches"):
            del values[name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
