"""Scenes on the fly."""

import torch

from happyhorse.data.stream import SceneStream
from happyhorse.types import ClipShape

SHAPE = ClipShape(0.5, 32, 32)


def test_a_stream_is_a_function_of_the_step_and_never_repeats(codecs):
    streams = SceneStream(codecs, "cpu", seed=1, render_batch=2), SceneStream(codecs, "cpu", seed=1)
    a, b = (stream.batch(7, SHAPE, 3) for stream in streams)
    torch.testing.assert_close(a.latents.video, b.latents.video)
    assert a.prompts == b.prompts and a.latents.audio.shape == (3, 13, 64)
    assert not torch.equal(a.latents.video, streams[0].batch(8, SHAPE, 3).latents.video)


def test_runs_with_other_seeds_see_other_scenes(codecs):
    a, b = (SceneStream(codecs, "cpu", seed=seed).batch(0, SHAPE, 2) for seed in (1, 2))
    assert not torch.equal(a.latents.video, b.latents.video)
