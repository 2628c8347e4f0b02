"""Distillation to few steps without guidance: ``happyhorse distill foal``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable

from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.flow.timesteps import grid
from happyhorse.recipes.codec import Fit
from happyhorse.recipes.foal import SHORT, SQUARE, TALL, WIDE, WORDS, foal_shapes
from happyhorse.recipes.recipe import CacheSet, KnownShares, NoiseLaw, OptimizerConfig, Stage
from happyhorse.sampling import samplers
from happyhorse.types import ClipShape

STUDENT = OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.999), warmup=0.05, final=0.1)
FAKE = STUDENT.replace(learning_rate=2e-4, final=0.5)


@dataclasses.dataclass(frozen=True)
class RenoiseLaw(Config):
    """The levels at which the two scores are compared; t = 1 is noise."""

    shift: float = 5.0
    """Odds of a uniform level are multiplied by this. The level of a voice is decided near noise: at 2 talkers become
    too quiet by 5 dB (docs/LOG.md)."""
    lowest: float = 0.02
    """Levels below this are never drawn."""
    highest: float = 0.98
    """Nor are levels above this."""
    early_lowest: float = 0.3
    """The lowest level at the beginning: a teacher without a timestep misjudges unfamiliar leftovers near the data."""
    early: float = 0.1
    """Share of the updates that are the beginning."""

    def lowest_at(self, progress: float) -> float:
        """The lowest level after the share ``progress`` of the updates."""
        return self.early_lowest if progress < self.early else self.lowest


@dataclasses.dataclass(frozen=True)
class DistillConfig(Config):
    """One distillation."""

    name: str
    """The recipe's name."""
    teacher: str
    """Name or folder of the model to be distilled."""
    stage: Stage
    """Updates of the student, and the clips of each."""
    caches: tuple[CacheSet, ...]
    """Prompts, and the latents that are given, come from these."""
    steps: int = 8
    """Denoising steps of the student."""
    shift: float = 3.0
    """Shift of the student's levels."""
    sampler: str = "unipc"
    """How the student goes from level to level, in training as in use: a name of ``sampling/samplers.py``."""
    warm_guidance: tuple[float, float] = (2.5, 3.0)
    """Weights of the prompt that the warm start's teacher is asked with, for picture and sound: those of sampling."""
    guidance: tuple[float, float] = (1.5, 2.5)
    """The same of the real score. It decides how loud sounds become (docs/LOG.md)."""
    warm: Fit | None = None
    """The warm start: steps in which the student learns to say in one pass what the teacher says with guidance."""
    warm_noise: NoiseLaw = dataclasses.field(default_factory=lambda: NoiseLaw(shift=4.0))
    """The noise levels of the warm start."""
    fake_updates: int = 5
    """Updates of the fake score to one of the student."""
    fake_per_rollout: int = 1
    """Updates of the fake score on one batch of the student's clips, each with new noise."""
    renoise: RenoiseLaw = dataclasses.field(default_factory=RenoiseLaw)
    """Where the scores are compared."""
    floor: float = 0.05
    """The least size that a gradient is divided by."""
    known: KnownShares = dataclasses.field(default_factory=KnownShares)
    """How often which part is given."""
    audio_weight: float = 1.0
    """Weight of the sound against the picture."""
    optimizer: OptimizerConfig = STUDENT
    """The student's."""
    fake_optimizer: OptimizerConfig = FAKE
    """The fake score's: the most sensitive choice of all."""
    ema_decay: float = 0.995
    """Decay of the student's average, which is what is kept: long, because loudness swings from update to update."""
    text_multiple: int = 32
    """Token rows are padded to a multiple of this."""
    rank: int = 0
    """Rank of the stacks on one backbone; 0 for three networks of full size."""
    seed: int = 0
    """Everything random follows from this and the number of the update."""
    gpu_scale: int = 4
    """Factor of the clips of an update on a GPU."""
    compile: bool = False
    """Compile the blocks."""
    recompute: str = "none"
    """What a backward pass through a backbone with stacks makes again: "none", "cheap" or "full", as in training."""
    log_every: int = 10
    """Updates between two lines of progress."""
    checkpoint_every: int = 50
    """Updates between two checkpoints and candidates."""

    def __post_init__(self) -> None:
        if min(self.steps, self.stage.steps, self.stage.batch, self.fake_updates, self.fake_per_rollout) < 1:
            raise ConfigError(f"recipe {self.name}: steps, updates and samples must be 1 or more")
        if self.sampler not in samplers.BY_NAME:
            raise ConfigError(f"recipe {self.name}: sampler {self.sampler!r} is unknown")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The student's levels."""
        return tuple(grid(self.steps, self.shift))

    def scaled(self, scale: int, steps: int | None = None) -> DistillConfig:
        """The same with ``scale`` times the clips in an update, and ``steps`` updates. Rates stay: what larger batches
        are for is steadier scores."""
        stage = self.stage.replace(batch=self.stage.batch * scale, steps=steps or self.stage.steps)
        return self.replace(stage=stage)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that differ when anything that changes the numbers of the run differs."""
        values = dataclasses.asdict(self)
        for name in ("log_every", "checkpoint_every", "compile", "recompute", "name", "caches", "gpu_scale"):
            del values[name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def foal_distill() -> DistillConfig:
    """The foal in eight steps, on the clips that it was trained on."""
    return DistillConfig(
        name="foal",
        teacher="foal-base",
        stage=Stage(steps=240, batch=4, shapes=(*[SQUARE] * 4, *[WIDE] * 2, *[TALL] * 2, SHORT, *[WORDS] * 3)),
        caches=foal_shapes().caches,
        known=KnownShares(first_frame=0.12, last_frame=0.03, audio=0.08, video=0.1, prefix=0.04),
        fake_per_rollout=5,
        warm=Fit(1100, learning_rate=1e-3, kind="muon", log_every=25, checkpoint_every=100),
        compile=True,
    )


def foal_distill_tiny() -> DistillConfig:
    """A rehearsal of a few updates."""
    small = ClipShape(0.5, 32, 32)
    return DistillConfig(
        name="foal-tiny",
        teacher="foal-base",
        stage=Stage(steps=4, batch=2, shapes=(small,)),
        caches=(CacheSet(small, 8),),
        known=KnownShares(first_frame=0.5, last_frame=0, audio=0, video=0, prefix=0),
        warm=Fit(2, kind="muon", log_every=1),
        steps=2,
        fake_updates=2,
        log_every=1,
        checkpoint_every=2,
    )


def distill_recipes() -> dict[str, Callable[[], DistillConfig]]:
    """Recipes by the names that ``happyhorse distill`` takes."""
    return {"foal": foal_distill, "foal-tiny": foal_distill_tiny}
