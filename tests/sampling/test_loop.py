"""Loops: what is kept, what is made again, and that the end is made to lead to the beginning."""

import numpy as np
import pytest
import torch

from happyhorse.errors import SizeError
from happyhorse.sampling import conditions
from happyhorse.sampling.given import Ending, Given
from happyhorse.sampling.loop import loop, parts
from happyhorse.sampling.pipeline import Pipeline, draw_noise
from happyhorse.sampling.request import make_request
from happyhorse.types import ClipShape


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return Pipeline.from_pretrained(tiny_model)


@pytest.mark.parametrize("seconds", [2.0, 2.1, 3.3, 5.0, 10.0])
def test_the_parts_fill_the_clip_and_the_window(seconds):
    shape = ClipShape(seconds, 64, 64)
    plan = parts(shape)
    assert plan.total == shape.frames // 4 * 4
    assert plan.before % 4 == 1 and plan.before <= plan.kept and plan.after <= plan.kept and plan.after >= 4
    assert plan.before + plan.new + plan.after == shape.padded_frames
    assert 0.35 < plan.new / plan.total < 0.45


def test_a_loop_that_is_too_short_is_refused():
    with pytest.raises(SizeError, match=r"a loop of 1 s is too short; ask for 2 s or more"):
        parts(ClipShape(1.0, 64, 64))


def test_an_ending_is_known_at_the_end(pipe):
    shape = ClipShape(2.0, 64, 64)
    rng = np.random.default_rng(0)
    ending = Ending(rng.integers(0, 255, (8, 64, 64, 3), np.uint8), rng.normal(0, 0.1, 8000).astype(np.float32))
    like = draw_noise(shape, torch.Generator().manual_seed(0))
    known = Given(ending=ending).known(like, shape, pipe.parts.video, pipe.parts.audio)
    assert known.video_mask[0].tolist() == [False] * 11 + [True] * 2
    assert known.audio_mask[0].tolist() == [False] * 41 + [True] * 8
    frames = np.concatenate([np.zeros_like(ending.frames[:1]), ending.frames])
    wanted = pipe.parts.video.encode(conditions.picture(frames))[:, :, 1:]
    torch.testing.assert_close(known.latents.video[:, :, -2:], wanted)


def test_the_beginning_of_a_loop_is_that_of_the_clip_and_its_end_is_new(pipe):
    request = make_request(pipe.parts.sampling, "a red ball bounces on wood", seconds=2.0, size=(64, 64), seed=3)
    clip, made = pipe.make(request), loop(pipe, request)
    plan = parts(request.shape)
    assert made.frames.shape == (48, 64, 64, 3) and made.audio.shape == (1, 48_000)
    assert np.array_equal(made.frames[: plan.kept], clip.frames[: plan.kept])
    assert not np.array_equal(made.frames[plan.kept :], clip.frames[plan.kept :])
    middle = slice(960, (plan.kept - 1) * 1000)  # what is not faded
    assert np.array_equal(made.audio[0, middle], clip.audio[0, middle])
    assert not np.array_equal(made.audio[0, :960], clip.audio[0, :960])
    assert made.recipe["loop"] is True and made.recipe["seconds"] == 2.0
    assert np.array_equal(loop(pipe, request).frames, made.frames)
    assert set(made.timings) == {"read", "denoise", "picture", "sound"}


def test_the_window_is_given_both_ends(pipe, monkeypatch):
    seen = []
    usual = pipe.generate_latents
    monkeypatch.setattr(pipe, "generate_latents", lambda *asked: seen.append(asked) or usual(*asked))
    request = make_request(pipe.parts.sampling, "rain", seconds=2.0, size=(64, 64), seed=3)
    clip, plan = loop(pipe, request), parts(request.shape)
    (first, nothing, _), (second, given, _) = seen
    assert (first.seed, second.seed) == (3, 4) and nothing == Given()
    assert np.array_equal(given.beginning.frames, clip.frames[plan.kept - plan.before : plan.kept])
    assert np.array_equal(given.ending.frames, clip.frames[: plan.after])
    assert len(given.ending.waveform) == plan.after * 1000 and len(given.beginning.waveform) == plan.before * 1000
