"""One case of a suite, measured: its real scenes, those scenes through the codecs, and the clips that were made of it.

Real scenes are what the instruments can tell at best, scenes through the codecs what any model behind them can reach.
Strangers, the picture of one real scene with the sound of another of its family, are what chance reaches. For the
Fréchet distances a second real scene of the same attributes is the reference of all three.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, prompt, render, sample_plan
from happyhorse.evaluation.fidelity import picture_features, sound_features, spread
from happyhorse.evaluation.readings import (
    Instruments,
    Sample,
    read_clip,
    read_codecs,
    read_given,
    read_image_end,
    read_image_start,
    read_together,
)
from happyhorse.evaluation.record import Record, Row
from happyhorse.evaluation.tally import Reading
from happyhorse.types import ClipShape

SEEDS = 4
"""Clips of one prompt that tell how much the seed decides."""
APART = 1_000_000
"""Between the seeds of two scenes, or two clips, of one case."""
ALL = "all families"
FIRST_SEED = 900_000_000
"""Seeds of the cases begin here, far from those of training and of the instruments."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to ask for."""

    name: str
    """The family and a number: "ball-07"."""
    plan: Plan
    prompt: str
    with_given: bool
    """Whether it is also asked for with parts of its real scene given: first frame, last frame, film and sound."""
    with_seeds: bool = False
    """Whether it is also asked for with other seeds."""

    def takes(self) -> tuple[str, ...]:
        """The clips to be made, by what they add to the case's name."""
        seeds = tuple(f"-seed-{number}" for number in range(1, SEEDS)) if self.with_seeds else ()
        in_time = self.plan.family != "weather"  # nothing there sounds at a moment that is seen
        given = ("-image", "-last", *(("-film", "-sound") if in_time else ())) if self.with_given else ()
        return ("", *given, *seeds)

    def seed_of(self, take: str) -> int:
        """The seed of a take's noise."""
        return self.plan.seed + (APART * int(take[-1]) if take.startswith("-seed-") else 0)


def make_cases(
    per_family: int, seconds: float, images: int = 8, families: Sequence[str] = tuple(FAMILIES)
) -> list[Case]:
    """``per_family`` cases of each family, every other one of a held-out combination, ``images`` of them with parts
    given too.

    The prompts are worded as training never words them.
    """
    return [_case(family, index, seconds, index < images) for index in range(per_family) for family in families]


def _case(family: str, index: int, seconds: float, with_given: bool) -> Case:
    seed = FIRST_SEED + index
    plan = sample_plan(seed, seconds, ("train", "held_out")[index % 2], family)
    words = prompt(plan, random.Random(f"{family}-{seed}"), "held_out")
    return Case(f"{family}-{index:02d}", plan, words, with_given, with_seeds=index == 0)


@torch.inference_mode()
def round_trip(
    codecs: Codecs, frames: torch.Tensor, waveform: torch.Tensor, device: torch.device | str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames [B, 3, F, h, w] in [0, 1] and waveform [B, S] to latents and back, on ``device``; F = 4k + 1."""
    rebuilt = codecs.video.decode(codecs.video.encode(frames.to(device) * 2 - 1)) / 2 + 0.5
    return rebuilt.cpu(), codecs.audio.decode(codecs.audio.encode(waveform.to(device))).float().cpu()


@dataclasses.dataclass(frozen=True)
class Bench:
    """What every case is measured with."""

    size: tuple[int, int]
    """Height and width of the real scenes, in pixels."""
    instruments: Instruments
    codecs: Codecs
    device: torch.device | str = "cpu"
    """Where the codecs are."""

    def scene(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames [1, 3, F, height, width] in [0, 1] and waveform [1, S], as many as the codecs want."""
        return render([plan], Canvas(ClipShape(plan.seconds, *self.size).padded_frames, *self.size))

    def real(self, plan: Plan) -> Sample:
        return sample_of(*self.scene(plan), ClipShape(plan.seconds, *self.size))

    def features(self, sample: Sample) -> dict[str, NDArray[np.float32]]:
        """Embeddings of the picture and of the sound."""
        picture, sound = picture_features(self.codecs, sample.frames), sound_features(self.codecs, sample.waveform)
        return {"picture": picture.astype(np.float32), "sound": sound.astype(np.float32)}


Embedded = Mapping[str, NDArray[np.float32]]
"""Embeddings [N, D] of one clip by medium."""


def known_record(case: Case, stranger: Case, bench: Bench) -> Record:
    """The rows that no model takes part in; ``stranger`` is another case of the family."""
    shape = ClipShape(case.plan.seconds, *bench.size)
    frames, waveform = bench.scene(case.plan)
    real = sample_of(frames, waveform, shape)
    through = sample_of(*round_trip(bench.codecs, frames, waveform, bench.device), shape)
    mixed = Sample(real.frames, bench.real(stranger.plan).waveform)
    rows = {
        "real": read_clip(real, case.plan, bench.instruments),
        "strangers": read_together(mixed, case.plan, bench.instruments),
        "codecs": read_clip(through, case.plan, bench.instruments),
    }
    rows["codecs"] = _and(rows["codecs"], read_codecs(real, through, case.plan, bench.instruments))
    if case.with_given:
        rows["real"] = _and(rows["real"], _read_given(dict.fromkeys(case.takes(), real), real, case.plan, bench))
    embedded = {"real": bench.features(real), "codecs": bench.features(through)}
    embedded["reference"] = bench.features(bench.real(other_scene(case.plan, 1)))
    if case.with_seeds:
        others = [bench.features(bench.real(other_scene(case.plan, number))) for number in range(1, SEEDS)]
        rows["real"] = _and(rows["real"], _spread([embedded["real"], *others], [embedded["real"], *others]))
        embedded |= {f"real-{number}": one for number, one in enumerate(others, 1)}
    return Record(rows, _flat(embedded))


def made_record(
    case: Case, clips: Mapping[str, Sample], real: Sequence[Embedded], bench: Bench, skipped: Mapping[str, str]
) -> Record:
    """The row "model": what is read from the clips of a case, by take. Those that are missing count nothing.

    ``real`` are the embeddings of ``SEEDS`` real scenes of the prompt, if the case is asked for with other seeds.
    """
    row, embedded = Row(), dict[str, dict[str, NDArray[np.float32]]]()
    if "" in clips:
        row = read_clip(clips[""], case.plan, bench.instruments)
        embedded["model"] = bench.features(clips[""])
    if case.with_given:
        row = _and(row, _read_given(clips, bench.real(case.plan), case.plan, bench))
    others = [take for take in case.takes() if take.startswith("-seed-")]
    if case.with_seeds and all(take in clips for take in ("", *others)):
        seeds = [bench.features(clips[take]) for take in others]
        row = _and(row, _spread([embedded["model"], *seeds], real))
    return Record({"model": row}, _flat(embedded), skipped)


def _read_given(clips: Mapping[str, Sample], real: Sample, plan: Plan, bench: Bench) -> Iterator[Reading]:
    """What is read from the clips that were made around parts of the scene ``real``."""
    if "-image" in clips:
        yield from read_image_start(real.frames[0], clips["-image"], plan)
    if "-last" in clips:
        yield from read_image_end(real.frames[-1], clips["-last"], plan)
    for take, name in (("-film", "film given"), ("-sound", "sound given")):
        if take in clips:
            yield from read_given(name, clips[take], plan, bench.instruments)


def other_scene(plan: Plan, number: int) -> Plan:
    """Another real scene that the same prompt asks for."""
    return FAMILIES[plan.family].plan(plan.seed + APART * number, plan.seconds, plan.attributes)


def real_seeds(known: Record) -> list[Embedded]:
    """Embeddings of the real scenes of one prompt."""
    names = ("real", *(f"real-{number}" for number in range(1, SEEDS)))
    return [{medium: known.features[f"{name}/{medium}"] for medium in ("picture", "sound")} for name in names]


def _spread(clips: Sequence[Embedded], real: Sequence[Embedded]) -> Iterator[Reading]:
    """How far apart clips of one prompt lie, as a share of real scenes."""
    for medium in ("picture", "sound"):
        apart, apart_real = (spread([one[medium].astype(np.float64) for one in group]) for group in (clips, real))
        yield Reading(ALL, f"spread over seeds, of real scenes' ({medium})", "all", apart, apart_real)


def _and(row: Row, readings: Iterator[Reading]) -> Row:
    return dataclasses.replace(row, readings=(*row.readings, *readings))


def _flat(embedded: Mapping[str, Embedded]) -> dict[str, NDArray[np.float32]]:
    return {f"{name}/{medium}": array for name, media in embedded.items() for medium, array in media.items()}


def sample_of(frames: torch.Tensor, waveform: torch.Tensor, shape: ClipShape) -> Sample:
    """Frames [1, 3, F, h, w] in [0, 1] and waveform [1, S], trimmed to the clip's length."""
    pixels = (frames[0, :, : shape.frames].clamp(0, 1) * 255).round().to(torch.uint8)
    samples = waveform[0, : shape.frames * waveform.shape[1] // frames.shape[2]]
    return Sample(pixels.permute(1, 2, 3, 0).contiguous().numpy(), samples.numpy())
