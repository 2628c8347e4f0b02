import random

import numpy as np
import pytest
import torch

from happyhorse.clip import Clip
from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.world import FAMILIES, render
from happyhorse.evaluation.adherence import Probe
from happyhorse.evaluation.instruments import Fitted, Validation
from happyhorse.evaluation.measure import clip_sample, make_cases, measure
from happyhorse.evaluation.readings import Instruments
from happyhorse.evaluation.speech import SpeechMatcher

SECONDS = 2.0
SIZE = (64, 64)


class Transparent:
    """A codec that loses nothing."""

    def encode(self, media):
        return media

    def decode(self, latent):
        return latent


@pytest.fixture(scope="module")
def tools():
    values = FAMILIES["ball"].attributes["surface"]
    always_wood = Probe(values, torch.zeros(1536), torch.zeros(3, 1536), torch.tensor([1.0, 0.0, 0.0]))
    key = ("ball", "surface", "picture")
    fitted = Fitted({key: always_wood}, {}, {key: Validation(1.0, 1.0, 1)})
    return Instruments(fitted, SpeechMatcher(round(SECONDS * 24_000)))


def run(tools, cases, **rows):
    *_, tally = measure(cases, SIZE, tools, **rows)
    return {(line.row, line.family, line.metric, line.split): line for line in tally.lines()}


def plan_clip(case, image):
    frames, sound = render([case.plan], Canvas(48, *SIZE))
    pixels = (frames[0] * 255).round().byte().permute(1, 2, 3, 0).numpy().copy()
    if image is not None:
        pixels[0] = image
    return Clip(pixels, sound.numpy(), 24, 24_000, {})


def test_half_of_the_cases_are_held_out_combinations():
    cases = make_cases(4, SECONDS, images=1)
    assert len(cases) == 4 * len(FAMILIES)
    assert sum(FAMILIES[case.plan.family].held_out(case.plan.attributes) for case in cases) == len(cases) / 2
    assert sum(case.with_image for case in cases) == len(FAMILIES)
    assert [case.prompt for case in cases] == [case.prompt for case in make_cases(4, SECONDS)]


def test_prompts_are_worded_as_asked():
    family = FAMILIES["ball"]
    worded = {phrasing: make_cases(6, SECONDS, 0, phrasing, ["ball"]) for phrasing in ("train", "held_out")}
    for phrasing, cases in worded.items():
        for case in cases:
            trained = {family.prompt(case.plan.attributes, random.Random(seed)) for seed in range(4000)}
            assert (case.prompt in trained) == (phrasing == "train")


def test_real_balls_are_in_time_and_transparent_codecs_keep_them(tools):
    found = run(tools, make_cases(2, SECONDS, 0, families=["ball"]), codecs=Codecs(Transparent(), Transparent()))
    for row in ("real", "codecs"):
        assert found[row, "ball", "F1 of impacts and onsets", "all"].value == 1
        assert found[row, "ball", "sound away by (ms)", "all"].value < 5
    assert found["codecs", "ball", "codec PSNR (dB)", "all"].value > 50
    assert found["codecs", "ball", "codec log-mel error (nats)", "all"].value == 0
    assert found["codecs", "ball", "codec onsets kept within 10 ms", "all"].value == 1


def test_strangers_do_not_fit(tools):
    found = run(tools, make_cases(3, SECONDS, 0, families=["ball"]))
    assert found["strangers", "ball", "F1 of impacts and onsets", "all"].value < 0.7
    assert found["strangers", "ball", "F1 of impacts and onsets", "all"].clips == 2


def test_a_late_sound_and_a_wrong_picture_show(tools):
    cases = make_cases(2, SECONDS, 0, families=["ball"])
    by_prompt = {case.prompt: case for case in cases}

    def late(prompt, seed, image):
        clip = plan_clip(by_prompt[prompt], None)
        return Clip(clip.frames, np.roll(clip.audio, 2400, axis=1), 24, 24_000, {})

    found = run(tools, cases, generate=late)
    assert found["model", "ball", "impacts heard within a frame", "all"].value == 0
    assert found["real", "ball", "impacts heard within a frame", "all"].value == 1
    right = [found["real", "ball", "surface right (picture)", split].value for split in ("trained", "held out")]
    assert right == [case.plan.attributes["surface"] == "wood" for case in cases]


def test_silence_and_stillness_are_counted(tools):
    cases = make_cases(1, SECONDS, 1, families=["talker"])

    def dead(prompt, seed, image):
        return Clip(np.full((48, *SIZE, 3), 90, np.uint8), np.zeros((1, 48_000), np.float32), 24, 24_000, {})

    found = run(tools, cases, generate=dead)
    for metric, dead_value in (("silent clips", 1), ("frozen clips", 1), ("mouth within a frame of voice", 0)):
        assert found["model", "talker", metric, "all"].value == dead_value
        assert found["real", "talker", metric, "all"].value == 1 - dead_value
    assert found["model", "talker", "image: frozen clips", "all"].value == 1


def test_a_given_first_frame_is_compared_with_the_clips(tools):
    cases = make_cases(1, SECONDS, 1, families=["walker"])
    found = run(tools, cases, generate=lambda prompt, seed, image: plan_clip(cases[0], image))
    assert found["model", "walker", "image: first frame PSNR (dB)", "all"].value == 99
    assert found["model", "walker", "image: first step over typical step", "all"].value < 2
    wrong = run(
        tools,
        cases,
        generate=lambda prompt, seed, image: plan_clip(cases[0], 255 - image if image is not None else None),
    )
    assert wrong["model", "walker", "image: first frame PSNR (dB)", "all"].value < 15
    assert wrong["model", "walker", "image: first step over typical step", "all"].value > 5


def test_stereo_is_mixed_to_one_channel():
    clip = Clip(
        np.zeros((24, 8, 8, 3), np.uint8),
        np.stack([np.ones(24_000), np.zeros(24_000)]).astype(np.float32),
        24,
        24_000,
        {},
    )
    assert clip_sample(clip).waveform == pytest.approx(0.5)
