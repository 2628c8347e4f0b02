"""One denoising step of a model in several ways, side by side: how long each takes and how far its numbers are off."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from happyhorse.compile.accelerate import Packages, accelerate
from happyhorse.compile.explain import Compiled, watch_compiler
from happyhorse.compile.spec import CompileSpec
from happyhorse.compile.timing import Spent, median_busy, median_wall, speedup, take_turns
from happyhorse.errors import CompileError, ConfigError, HappyhorseError
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

EAGER = "eager"


@dataclasses.dataclass(frozen=True)
class Case:
    """What a step is given."""

    latents: Latents
    text: Text
    times: Tensor | None = None
    """[B, 2], for a model that is told the noise levels."""

    def step(self, model: Any) -> Callable[[], Latents]:
        """A pass of ``model`` with everything made beforehand that serves all steps."""
        memory = model.encode_text(self.text) if model.config.text == "tokens" else self.text
        layout = model.layout(self.latents, memory)
        return lambda: model(self.latents, memory, layout, self.times)


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way to run a model."""

    name: str
    spec: CompileSpec
    packaged: bool = False
    """Whether it is loaded from packages made before, instead of compiled."""

    def build(self, model: Transformer) -> Any:
        """Something that is called as ``model`` is, which it changes."""
        if self.name == EAGER:
            return model
        return accelerate(model, self.spec, Packages(model.config, self.spec) if self.packaged else None)


def variants(device: torch.device, only: Collection[str] = ()) -> list[Variant]:
    """The ways worth comparing on a device, or ``only`` some of them; the first is the plain one, always.

    Raises ConfigError for a name that there is no way of here.
    """
    found = [
        Variant(EAGER, CompileSpec(scope="off", attention="plain")),
        Variant("attention", CompileSpec(scope="off")),
        Variant("block", CompileSpec(scope="block")),
        Variant("full", CompileSpec(scope="full")),
        Variant("package", CompileSpec(scope="full"), packaged=True),
        Variant("bf16", CompileSpec(scope="block", linear="bf16")),
        Variant("int8", CompileSpec(scope="block", linear="int8")),
    ]
    if device.type == "cpu":
        found.append(Variant("onednn", CompileSpec(scope="block", linear="onednn")))
    if device.type == "cuda":
        found.append(Variant("fp8", CompileSpec(scope="block", linear="fp8")))
        found.append(Variant("graphs", CompileSpec(scope="block", graphs=True)))
    names = [variant.name for variant in found]
    if strangers := [name for name in only if name not in names]:
        raise ConfigError(f"way {strangers[0]!r} is unknown here; the ways are {', '.join(names)}")
    return [variant for variant in found if not only or variant.name in (EAGER, *only)]


@dataclasses.dataclass
class Contender:
    """A variant that is ready to run, and what it has taken so far."""

    variant: Variant
    step: Callable[[], Latents]
    compiled: Compiled
    """What was compiled in its first step, and how long that took."""
    error: float
    """Largest difference to the plain model's velocities, in units of the largest of these."""
    spent: list[Spent] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a comparison."""

    name: str
    wall: float | None
    """Median seconds of a step; None before the first whole round."""
    busy: float | None
    """The same by the fair clock of ``compile.timing``."""
    speedup: float | None
    """How many times faster than the plain model: the median of the rounds' ratios."""
    error: float | None
    first: float | None
    """Seconds of the first step, with all that is compiled or loaded for it."""
    graphs: int = 0
    kernels: int = 0
    breaks: tuple[str, ...] = ()
    refused: str = ""
    """Why there are no numbers."""


class Comparison:
    """Variants of one model: ``prepare`` each, ``run`` some rounds, and ``rows`` at any time."""

    def __init__(self, model: Transformer, case: Case, device: torch.device) -> None:
        self.model, self.case, self.device = model, case, device
        self.contenders: dict[str, Contender] = {}
        self.refused: dict[str, str] = {}
        self._plain: Latents | None = None

    def prepare(self, variant: Variant) -> None:
        """Builds a variant and runs its first step; the plain one must come first. What cannot be built is noted."""
        try:
            self.contenders[variant.name] = self._contender(variant)
        except HappyhorseError as error:
            self.refused[variant.name] = str(error)

    def _contender(self, variant: Variant) -> Contender:
        with torch.inference_mode(), watch_compiler() as compiled:
            model = variant.build(self.model if variant.name == EAGER else copy.deepcopy(self.model))
            step = self.case.step(model)
            velocity = step()
        if variant.spec.scope != "off" and model.way == "eager":
            raise CompileError(f"runs as the plain model: {model.why}")
        self._plain = self._plain or velocity
        return Contender(variant, step, compiled, difference(velocity, self._plain))

    @torch.inference_mode()
    def run(self, repeats: int, on_round: Callable[[int, int], None] | None = None) -> None:
        """Rounds in which every contender takes its turn; those that are complete count, whatever happens."""
        runs = {name: contender.step for name, contender in self.contenders.items()}
        found = {name: contender.spent for name, contender in self.contenders.items()}
        take_turns(runs, repeats, self.device, found, on_round)

    def rows(self, order: Sequence[Variant]) -> Iterator[Row]:
        """What there is so far."""
        plain = self.contenders[EAGER].spent if EAGER in self.contenders else []
        for name in (variant.name for variant in order):
            if name in self.refused:
                yield Row(name, None, None, None, None, None, refused=self.refused[name])
            elif name in self.contenders:
                yield _row(self.contenders[name], plain)


def _row(contender: Contender, plain: Sequence[Spent]) -> Row:
    spent, compiled = contender.spent, contender.compiled
    return Row(
        contender.variant.name,
        wall=median_wall(spent) if spent else None,
        busy=median_busy(spent) if spent else None,
        speedup=speedup(plain, spent) if spent else None,
        error=contender.error,
        first=compiled.seconds,
        graphs=compiled.graphs,
        kernels=compiled.kernels,
        breaks=compiled.breaks,
    )


def difference(one: Latents, plain: Latents) -> float:
    """Largest difference of two velocities, in units of the largest number of ``plain``, the worse of the streams."""
    pairs = ((one.video, plain.video), (one.audio, plain.audio))
    return max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
