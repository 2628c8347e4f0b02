"""How far a job is: the stages that it goes through, each with its share of the whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from happyhorse.sampling.extend import overlap
from happyhorse.sampling.given import FPS
from happyhorse.sampling.public import SHIPPED
from happyhorse.server.orders import Order, RenderOrder
from happyhorse.types import ClipShape

Stages = tuple[tuple[str, float], ...]

CLIP: Stages = (("read", 1), ("denoise", 64), ("picture", 18), ("sound", 2))
RENDER: Stages = (("enlarge", 100), ("render", 400), ("picture", 500))
WRITE: Stages = (("write", 15),)
WRITE_LARGE: Stages = (("write", 100),)
"""Stages in the words of ``Pipeline.make`` and ``Renderer.render``, with about what each takes on a CPU, in per cent of
a clip of the foal; a render has 16 times the pixels."""
_STAGE = re.compile(r"(.+) (\d+)/(\d+)")


class Track:
    """Turns what a pipeline says of its stages into per cent of the whole, which never go back."""

    def __init__(self, stages: Sequence[tuple[str, float]]) -> None:
        self._names = [name for name, _ in stages]
        self._shares = [share for _, share in stages]
        self._at, self._done, self._percent = 0, 0.0, 0.0

    def __call__(self, stage: str, done: int, total: int) -> float:
        """0 to 99, when ``done`` of ``total`` steps of a stage are made; 100 is a clip that was handed in."""
        part = done / total if total else 1.0
        self._find(stage, part)
        before = sum(self._shares[: self._at])
        if self._names[self._at] == stage:  # one that was not announced is told of, and not counted
            before += part * self._shares[self._at]
            self._done = part
        self._percent = max(self._percent, 99 * before / sum(self._shares))
        return self._percent

    def _find(self, stage: str, part: float) -> None:
        """Goes on to the stage of this name; one that begins again is the next of the same name."""
        again = self._names[self._at] == stage and part < self._done
        start = self._at + again
        if stage in self._names[start:]:
            self._at = self._names.index(stage, start)


def stages_of(order: Order | RenderOrder) -> Stages:
    """What a job goes through."""
    if order.published:
        return _published(order)
    if isinstance(order, RenderOrder):
        return (*RENDER, *WRITE_LARGE)
    if "start" in order.media:
        return (*CLIP * windows(order), *WRITE)
    if order.loop:
        return (*CLIP, *CLIP, *WRITE)
    return (*CLIP, *WRITE, *RENDER, *WRITE_LARGE) if order.rendered else (*CLIP, *WRITE)


def _published(order: Order | RenderOrder) -> Stages:
    """In the words of ``PublicPipeline``."""
    if isinstance(order, RenderOrder):
        return _in_passes("render", order.steps, order.large)
    clip = _in_passes("denoise", order.steps * (2 if order.guided else 1), order.shape)
    return (*clip, *_in_passes("render", SHIPPED.steps, order.large)) if order.rendered else clip


def _in_passes(stage: str, passes: int, shape: ClipShape) -> Stages:
    """Nearly all of the time goes by in the Transformer, with rows times passes; short stages are not counted."""
    work = float(passes * shape.tokens)
    return ("read", work / 10), (stage, work), ("picture", work / 5), ("write", work / 20)


def windows(order: Order) -> int:
    """Windows that a clip takes to go on to its new length."""
    shape, frames, found = order.shape, round(order.media["start"]["seconds"] * FPS), 0
    while frames < round(order.seconds * FPS):
        frames += _added(frames, shape)
        found += 1
    return max(1, found)


def _added(frames: int, shape: ClipShape) -> int:
    return max(1, shape.frames - overlap(max(1, frames), shape))


def stage_text(stage: str, done: int, total: int) -> str:
    """ "denoise 3/8"; the name alone where there is one step."""
    return f"{stage} {done}/{total}" if total > 1 else stage


def stage_parts(text: str) -> tuple[str | None, int | None, int | None]:
    """A stage, its steps that are made, and all of them: the inverse of ``stage_text``."""
    found = _STAGE.fullmatch(text)
    return (found[1], int(found[2]), int(found[3])) if found else (text or None, None, None)
