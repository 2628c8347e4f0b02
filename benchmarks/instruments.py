"""How far can the rulers be trusted? Every detector against the known truth of real scenes, clean and spoilt.

    python benchmarks/instruments.py --per-family 64

"spoilt" pictures are blurred over 2 x 2 pixels, with flicker in cells of 4 x 4; spoilt sound is rebuilt by Griffin-Lim
from a noisy log-mel: both worse than what a codec does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from happyhorse.codecs import mel
from happyhorse.data.scenes.scene import FPS, Plan
from happyhorse.data.scenes.world import FAMILIES, sample_plan
from happyhorse.evaluation.impacts import ball_impacts
from happyhorse.evaluation.instruments import Fitted, Fitting, cached_instruments, real_clips
from happyhorse.evaluation.lips import best_lag, lip_sync, mouth_opening, speech_envelope
from happyhorse.evaluation.readings import EDGE, Sample
from happyhorse.evaluation.speech import SpeechMatcher
from happyhorse.evaluation.sync import Floats, OnsetDetector, match
from happyhorse.evaluation.tally import Reading, Tally, markdown

SECONDS = 5.0
FIRST_SEED = 800_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-family", type=int, default=64)
    parser.add_argument("--pixels", type=int, default=64)
    asked = parser.parse_args()
    fitted, matcher, tally = (
        cached_instruments(Fitting(seconds=SECONDS)),
        SpeechMatcher(round(SECONDS * 24_000)),
        Tally(),
    )
    for family in FAMILIES:
        splits = ["held_out" if index % 4 == 3 else "train" for index in range(asked.per_family)]
        plans = [sample_plan(FIRST_SEED + index, SECONDS, split, family) for index, split in enumerate(splits)]
        for plan, (frames, waveform) in zip(plans, real_clips(plans, asked.pixels), strict=True):
            clean = Sample(frames, waveform)
            tally.add("clean", against_truth(clean, plan, fitted, matcher))
            tally.add("spoilt", against_truth(spoilt(clean, plan.seed), plan, fitted, matcher))
        print(family, "done", file=sys.stderr, flush=True)
    print(markdown(tally.lines()))


def spoilt(sample: Sample, seed: int) -> Sample:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(sample.frames).permute(0, 3, 1, 2).float() / 255
    blurred = F.interpolate(F.avg_pool2d(pixels, 2), scale_factor=2.0, mode="bilinear")
    cells = 0.04 * torch.randn(*pixels.shape[:2], pixels.shape[2] // 4, pixels.shape[3] // 4, generator=generator)
    flicker = F.interpolate(cells, scale_factor=4.0)
    frames = ((blurred + flicker).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    spectrum = mel.log_mel(torch.from_numpy(sample.waveform)[None])
    spectrum = spectrum + 0.3 * torch.randn(spectrum.shape, generator=generator)
    magnitude = mel.mel_to_magnitude(spectrum, mel.inverse_filters())
    return Sample(frames.numpy(), mel.griffin_lim(magnitude, 12, generator)[0].numpy())


def against_truth(sample: Sample, plan: Plan, fitted: Fitted, matcher: SpeechMatcher) -> Iterator[Reading]:
    for (attribute, medium), value in fitted.judge(plan.family, sample.frames, sample.waveform).items():
        yield Reading(plan.family, f"{attribute} ({medium})", "all", float(value == plan.attributes[attribute]))
    look = ball_impacts if plan.family == "ball" else fitted.step_detector(plan.family)
    if look:
        yield from events(plan, "seen", look(sample.frames))
        yield from events(plan, "heard", OnsetDetector()(sample.waveform))
    if plan.family == "talker":
        yield from speech(sample, plan, matcher)


def events(plan: Plan, how: str, times: Floats) -> Iterator[Reading]:
    found = match(plan.truth.events, times, span=(EDGE, plan.seconds - EDGE))
    pairs = len(found.offsets)
    yield Reading(plan.family, f"events {how}: recall", "all", pairs, found.events)
    yield Reading(plan.family, f"events {how}: precision", "all", pairs, found.onsets)
    yield Reading(plan.family, f"events {how}: late by (ms)", "all", 1000 * sum(found.offsets), pairs)
    yield Reading(plan.family, f"events {how}: away by (ms)", "all", 1000 * sum(map(abs, found.offsets)), pairs)


def speech(sample: Sample, plan: Plan, matcher: SpeechMatcher) -> Iterator[Reading]:
    frames = round(plan.seconds * FPS)
    mouth: NDArray = np.array(plan.truth.mouth[:frames])
    envelope = speech_envelope(sample.waveform, frames)
    yield Reading(
        "talker", "mouth seen against truth", "all", best_lag(mouth, mouth_opening(sample.frames), 0).correlation
    )
    yield Reading("talker", "true mouth against voice", "all", best_lag(mouth, envelope, 1).correlation)
    yield Reading("talker", "mouth seen against voice", "all", lip_sync(sample.frames, sample.waveform, 1).correlation)
    lag = lip_sync(sample.frames, sample.waveform).lag
    yield Reading("talker", "best lag within a frame", "all", float(abs(lag) <= 1))
    heard = matcher.rank(torch.from_numpy(sample.waveform))
    wanted = plan.attributes
    same = [
        one.utterance.language == wanted["language"] and one.utterance.sentence == wanted["sentence"] for one in heard
    ]
    yield Reading("talker", "sentence heard", "all", float(same[0]))
    yield Reading("talker", "cosine of the right sentence", "all", heard[same.index(True)].score)
    yield Reading("talker", "cosine of the best wrong one", "all", heard[same.index(False)].score)


if __name__ == "__main__":
    main()
