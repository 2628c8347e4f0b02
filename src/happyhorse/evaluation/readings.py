"""What is read from one clip: every number of the quality table, as a total and a count.

Readings that take part in a target are documented in ``docs/evaluation.md``. Frames are uint8 [F, height, width, 3] at
24 per second, waveforms [S] at 24 kHz.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from happyhorse.codecs import mel
from happyhorse.data.scenes.scene import FPS, Plan
from happyhorse.data.scenes.sentences import held_out_sentences
from happyhorse.data.scenes.talker import held_out_look
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.evaluation.fidelity import GATE, lufs, ssim
from happyhorse.evaluation.impacts import ball_impacts
from happyhorse.evaluation.instruments import Fitted
from happyhorse.evaluation.judge import Judge
from happyhorse.evaluation.lips import lip_sync
from happyhorse.evaluation.recognisers import Recogniser, transcripts
from happyhorse.evaluation.record import Row
from happyhorse.evaluation.speech import SpeechMatcher
from happyhorse.evaluation.sync import Matching, OnsetDetector, match
from happyhorse.evaluation.tally import Reading
from happyhorse.evaluation.transcripts import counted_errors

Frames = NDArray[np.uint8]
Waveform = NDArray[np.floating]
Note = Callable[..., Reading]
"""Makes a reading of a family: (metric, split, total, count)."""

EDGE = 2 / FPS
"""Seconds at either end in which an impact may be heard but not seen, or the other way round."""
SILENT_DBFS = -50.0
FROZEN_LEVELS = 0.05
"""Mean change from frame to frame, in levels of 255, below which a clip stands still."""
FOLLOWS = 0.3
"""Correlation below which a mouth does not follow its voice at any lag: a mouth at rest is not on time."""
IN_TIME = ("F1 of impacts and onsets", "mouth against voice (correlation)")
"""What is read of a film or a sound that was given, and what was made for it."""
SAME_SOUND = 0.010
"""Seconds within which a codec must keep an onset."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """A clip to be measured."""

    frames: Frames
    waveform: Waveform


@dataclasses.dataclass(frozen=True)
class Instruments:
    """What is made once and used on every clip."""

    fitted: Fitted
    matcher: SpeechMatcher
    onsets: OnsetDetector = dataclasses.field(default_factory=OnsetDetector)
    recognisers: tuple[Recogniser, ...] = ()
    """Those who write down what talkers say."""
    judges: tuple[Judge, ...] = ()
    """Those who say how well picture and sound go together."""


def read_clip(sample: Sample, plan: Plan, instruments: Instruments) -> Row:
    """All readings of a clip that was asked to show ``plan``."""
    note = functools.partial(Reading, plan.family)
    together = read_together(sample, plan, instruments)
    seen = instruments.fitted.judge(plan.family, sample.frames, sample.waveform)
    readings = [*_alive(sample, note), *_attributes(seen, plan, note), *together.readings]
    heard = {}
    if plan.family == "talker":
        heard = transcripts(sample.waveform, plan.attributes["language"], instruments.recognisers)
        readings += [*_nearest(sample, plan, instruments, note), *_speech(heard, plan, note)]
    names = {f"{attribute} ({medium})": value for (attribute, medium), value in seen.items()}
    return Row(tuple(readings), names, together.offsets, heard)


def read_together(sample: Sample, plan: Plan, instruments: Instruments) -> Row:
    """The readings that compare picture and sound."""
    note = functools.partial(Reading, plan.family)
    readings, offsets = list(_judged(sample, plan, instruments, note)), ()
    look = ball_impacts if plan.family == "ball" else instruments.fitted.step_detector(plan.family)
    if look:
        found = heard_impacts(look(sample.frames), sample, instruments)
        readings, offsets = [*_sync(found, len(sample.frames) / FPS, note), *readings], found.offsets
    if plan.family == "talker":
        readings = [*_lips(sample, note), *readings]
    return Row(tuple(readings), offsets=offsets)


def _judged(sample: Sample, plan: Plan, instruments: Instruments, note: Note) -> Iterator[Reading]:
    for judge in instruments.judges:
        if plan.family in judge.families:
            for judgement in judge(sample.frames, sample.waveform):
                yield note(judgement.metric, "all", judgement.value)


def _alive(sample: Sample, note: Note) -> Iterator[Reading]:
    level = loudness(sample.waveform)
    yield note("silent clips", "all", float(level < SILENT_DBFS))
    yield note("frozen clips", "all", float(movement(sample.frames) < FROZEN_LEVELS))
    if level >= SILENT_DBFS and (heard := lufs(sample.waveform)) > GATE:  # silence has no loudness to be averaged
        yield note("loudness (LUFS)", "all", heard)


def _attributes(seen: Mapping[tuple[str, str], str], plan: Plan, note: Note) -> Iterator[Reading]:
    split = combination(plan)
    for medium in ("picture", "sound"):
        right = [value == plan.attributes[key] for (key, where), value in seen.items() if where == medium]
        yield note(f"attributes right ({medium})", split, sum(right), len(right))
    for (attribute, medium), value in seen.items():
        yield note(f"{attribute} right ({medium})", split, float(value == plan.attributes[attribute]))


def combination(plan: Plan) -> str:
    """Whether what is seen in a plan is a trained or a held-out combination; a talker's sentence is not seen."""
    if plan.family == "talker":
        out = held_out_look(plan.attributes["hair"], plan.attributes["background"])
    else:
        out = FAMILIES[plan.family].held_out(plan.attributes)
    return "held out" if out else "trained"


def heard_impacts(impacts: NDArray[np.float64], sample: Sample, instruments: Instruments) -> Matching:
    """Impacts that are seen (of the ball, hooves or feet), against the onsets that are heard."""
    seconds = len(sample.frames) / FPS
    return match(impacts, instruments.onsets(sample.waveform), span=(EDGE, seconds - EDGE))


def _sync(found: Matching, seconds: float, note: Note) -> Iterator[Reading]:
    pairs = len(found.offsets)
    yield note("clips that show impacts", "all", float(found.events >= 2))
    yield note("impacts seen per second", "all", found.events, seconds)
    yield note("impacts heard within a frame", "all", pairs, found.events)
    yield note("onsets without an impact", "all", found.onsets - pairs, found.onsets)
    yield note("F1 of impacts and onsets", "all", 2 * pairs, found.events + found.onsets)
    yield note("sound late by (ms)", "all", 1000 * sum(found.offsets), pairs)
    yield note("sound away by (ms)", "all", 1000 * sum(map(abs, found.offsets)), pairs)


def _lips(sample: Sample, note: Note) -> Iterator[Reading]:
    near, lips = (lip_sync(sample.frames, sample.waveform, within) for within in (1, 3))
    yield note("mouth against voice (correlation)", "all", near.correlation)
    yield note("mouth within a frame of voice", "all", float(lips.correlation > FOLLOWS and abs(lips.lag) <= 1))


def _nearest(sample: Sample, plan: Plan, instruments: Instruments, note: Note) -> Iterator[Reading]:
    """Which of the bank's sentences the sound is most like."""
    wanted, split = plan.attributes, said(plan)
    nearest = instruments.matcher.rank(torch.from_numpy(np.asarray(sample.waveform, np.float32)))[0]
    same_language = nearest.utterance.language == wanted["language"]
    yield note("sentence right", split, float(same_language and nearest.utterance.sentence == wanted["sentence"]))
    yield note("language right", split, float(same_language))
    yield note("speech like the bank's (cosine)", split, nearest.score)


def said(plan: Plan) -> str:
    """Whether a talker's sentence is a trained or a held-out one."""
    secret = held_out_sentences(plan.attributes["language"])
    return "held out" if plan.attributes["sentence"] in secret else "trained"


def _speech(heard: Mapping[str, str], plan: Plan, note: Note) -> Iterator[Reading]:
    """Errors of each transcript; a clip counts at most as many as it has units."""
    language, sentence = plan.attributes["language"], plan.attributes["sentence"]
    for name, text in heard.items():
        for unit, errors in counted_errors(language, sentence, text).items():
            yield note(f"errors in {unit} ({name})", said(plan), min(errors.wrong, errors.units), errors.units)
        yield note(f"empty transcripts ({name})", said(plan), float(not text.strip()))


# ---------------------------------------------------------------------------------------------------- plain quantities


def loudness(waveform: Waveform) -> float:
    """Level of a waveform in dB against full scale."""
    return float(10 * np.log10(max(np.square(np.asarray(waveform, np.float64)).mean(), 1e-12)))


def movement(frames: Frames) -> float:
    """Mean change from frame to frame, in levels of 255."""
    return float(steps(frames).mean()) if len(frames) > 1 else 0.0


def steps(frames: Frames) -> NDArray[np.float64]:
    """Mean change from each frame to the next, in levels of 255, [F - 1]."""
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in itertools.pairwise(frames)])


def psnr(one: Frames, other: Frames) -> float:
    """Peak signal-to-noise ratio in dB of pictures of bytes; 99 for equal ones."""
    error = np.square(one.astype(np.float32) - other.astype(np.float32)).mean()
    return float(10 * np.log10(255**2 / error)) if error > 0 else 99.0


def log_mel_error(one: Waveform, other: Waveform) -> float:
    """Mean absolute difference of two log-mel spectrograms, in nats."""
    spectra = mel.log_mel(torch.from_numpy(np.stack([one, other]).astype(np.float32)))
    return float((spectra[0] - spectra[1]).abs().mean())


# ------------------------------------------------------------------------------------------- against a given original


def read_codecs(real: Sample, through: Sample, plan: Plan, instruments: Instruments) -> Iterator[Reading]:
    """What the codecs lose of a real clip."""
    note = functools.partial(Reading, plan.family)
    yield note("codec PSNR (dB)", "all", psnr(real.frames, through.frames))
    yield note("codec log-mel error (nats)", "all", log_mel_error(real.waveform, through.waveform))
    if plan.family == "ball":
        kept = match(instruments.onsets(real.waveform), instruments.onsets(through.waveform), SAME_SOUND)
        yield note("codec onsets kept within 10 ms", "all", len(kept.offsets), kept.events)


def read_image_start(image: Frames, sample: Sample, plan: Plan) -> Iterator[Reading]:
    """How a clip that was given its first frame begins, and whether it goes on from there."""
    note = functools.partial(Reading, plan.family)
    change = steps(sample.frames)
    yield note("image: first frame PSNR (dB)", "all", psnr(image, sample.frames[0]))
    yield note("image: first frame SSIM", "all", ssim(image, sample.frames[0]))
    yield note("image: first step over typical step", "all", float(change[0] / max(np.median(change), 1e-6)))
    yield note("image: frozen clips", "all", float(change.mean() < FROZEN_LEVELS))


def read_image_end(image: Frames, sample: Sample, plan: Plan) -> Iterator[Reading]:
    """How a clip that was given its last frame ends."""
    note = functools.partial(Reading, plan.family)
    change = steps(sample.frames)
    yield note("last image: last frame PSNR (dB)", "all", psnr(image, sample.frames[-1]))
    yield note("last image: last step over typical step", "all", float(change[-1] / max(np.median(change), 1e-6)))


def read_given(name: str, sample: Sample, plan: Plan, instruments: Instruments) -> Iterator[Reading]:
    """How well what was made fits the film or the sound that was given."""
    for reading in read_together(sample, plan, instruments).readings:
        if reading.metric in IN_TIME:
            yield dataclasses.replace(reading, metric=f"{name}: {reading.metric}")
