import dataclasses
import shutil

import numpy as np
import pytest
import torch

from happyhorse.codecs.images import write_png
from happyhorse.errors import ConfigError, MediaError, PromptError, WeightsError
from happyhorse.sampling.given import Given, load_image
from happyhorse.sampling.pipeline import NOTHING, Pipeline, Stopwatch, draw_noise
from happyhorse.sampling.request import make_request
from happyhorse.types import ClipShape

BALL = "a red ball bounces on wood"


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return Pipeline.from_pretrained(tiny_model)


def test_a_clip_is_exactly_as_long_as_asked(pipe):
    for seconds, size in ((0.5, "1:1"), (1.25, "16:9")):
        clip = pipe(BALL, seconds=seconds, size=size, seed=1)
        height, width = (128, 128) if size == "1:1" else (96, 160)
        assert clip.frames.shape == (round(24 * seconds), height, width, 3)
        assert clip.frames.dtype == np.uint8
        assert clip.audio.shape == (1, round(24_000 * seconds))
        assert clip.audio.dtype == np.float32
        assert (clip.fps, clip.sample_rate, clip.seconds) == (24, 24_000, seconds)


def test_the_seed_decides_everything(pipe):
    one, same, other = pipe(BALL, seed=1), pipe(BALL, seed=1), pipe(BALL, seed=2)
    assert np.array_equal(one.frames, same.frames)
    assert np.array_equal(one.audio, same.audio)
    assert not np.array_equal(one.frames, other.frames)


def test_the_prompt_guidance_and_negative_prompt_matter(pipe):
    plain = pipe(BALL, seed=1)
    for changed in (
        pipe("heavy rain in a forest", seed=1),
        pipe(BALL, seed=1, guidance=9.0),
        pipe(BALL, seed=1, guidance=(4.0, 9.0)),
        pipe(BALL, seed=1, negative="rain"),
    ):
        assert not np.array_equal(plain.audio, changed.audio)


def test_guidance_of_one_ignores_the_negative_prompt(pipe):
    one, other = pipe(BALL, seed=1, guidance=1.0), pipe(BALL, seed=1, guidance=1.0, negative="rain")
    assert np.array_equal(one.frames, other.frames)


def test_only_a_model_with_a_timestep_is_told_the_level(pipe):
    told = []

    class Listening(torch.nn.Module):
        def __init__(self, timestep):
            super().__init__()
            self.model = pipe.parts.model
            self.config = self.model.config.replace(timestep=timestep)
            self.encode_text, self.layout = self.model.encode_text, self.model.layout

        def forward(self, latents, text, layout, times):
            told.append(times)
            return self.model(latents, text, layout)

    for timestep in ("none", "embedded"):
        listening = Pipeline(dataclasses.replace(pipe.parts, model=Listening(timestep)))
        listening(BALL, seconds=0.5, seed=1, steps=2, guidance=2.0, shift=3.0, sampler="euler")
    assert told[:2] == [None, None]
    assert torch.allclose(torch.stack(told[2:]), torch.tensor([1.0, 0.75])[:, None, None].expand(2, 2, 2))


def test_guidance_is_a_line_between_two_predictions(pipe):
    """One Euler step is linear in the velocity: the clip at w = 3 lies where those at w = 0 and w = 1 say."""

    def latents(weight):
        request = make_request(pipe.parts.sampling, BALL, seed=1, steps=1, guidance=weight, sampler="euler")
        with torch.inference_mode():
            return pipe.generate_latents(request, NOTHING, Stopwatch())

    without, plain, guided = latents(0.0), latents(1.0), latents(3.0)
    for stream in ("video", "audio"):
        u, c = getattr(without, stream), getattr(plain, stream)
        assert torch.allclose(getattr(guided, stream), u + 3 * (c - u), atol=1e-4)


def test_the_recipe_repeats_the_clip(pipe):
    clip = pipe(BALL, seconds=0.75, size="64x64", guidance=(2.0, 3.0))
    recipe = dict(clip.recipe)
    assert (recipe["model"], recipe["weights"]) == ("tiny", pipe.parts.fingerprint)
    asked = {key: recipe[key] for key in recipe if key not in (*pipe.made_by(), "image")}
    assert np.array_equal(pipe(**asked).frames, clip.frames)


def test_an_image_is_the_first_latent_frame(pipe, tmp_path):
    image = np.full((96, 160, 3), (200, 60, 20), np.uint8)
    write_png(tmp_path / "a.png", image)
    clip = pipe(BALL, image=tmp_path / "a.png", seed=1)
    assert clip.frames.shape[1:3] == (96, 160), "the size follows the image"
    request = make_request(pipe.parts.sampling, BALL, seed=1, size="160x96")
    with torch.inference_mode():
        latents = pipe.generate_latents(request, Given(load_image(image)), Stopwatch())
        frame = torch.tensor([200, 60, 20]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 96, 160) / 127.5 - 1
        given = pipe.parts.video.encode(frame)
    assert torch.equal(latents.video[:, :, :1], given)
    assert clip.recipe["image"]["path"].endswith("a.png")
    assert np.array_equal(clip.frames, pipe(BALL, image=image, seed=1).frames)


def test_progress_tells_each_stage_to_its_end(pipe):
    told = []
    pipe(BALL, steps=3, on_progress=lambda *news: told.append(news))
    assert [stage for stage, done, total in told if done == total] == ["read", "denoise", "denoise", "picture", "sound"]
    assert [done for stage, done, _ in told if stage == "denoise"][:4] == [0, 1, 2, 3]


def test_a_stage_that_comes_again_counts_again(monkeypatch):
    clock = iter([0.0, 1.0, 10.0, 12.5])
    monkeypatch.setattr("happyhorse.sampling.pipeline.time.perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("denoise", 1):
            pass
    assert watch.seconds == {"denoise": 3.5}


@pytest.mark.parametrize("stage", ["read", "denoise", "picture", "sound"])
def test_ctrl_c_passes_through_every_stage(pipe, stage):
    def stop(name, done, total):
        if name == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe(BALL, on_progress=stop)


def test_noise_depends_on_the_seed_alone():
    def draw():
        return draw_noise(ClipShape(1.0, 64, 64), torch.Generator().manual_seed(5))

    torch.manual_seed(1)
    first = draw()
    torch.manual_seed(2)
    assert torch.equal(first.video, draw().video)
    assert first.video.shape == (1, 48, 7, 4, 4)
    assert first.audio.shape == (1, 25, 64)
    assert abs(first.video.std() - 1) < 0.05


def test_what_cannot_be_made_is_refused(pipe, tmp_path):
    with pytest.raises(PromptError, match="128"):
        pipe("zyzzyva " * 200)
    with pytest.raises(MediaError, match="not found"):
        pipe(BALL, image=tmp_path / "missing.png")
    with pytest.raises(MediaError, match="uint8"):
        pipe(BALL, image=np.zeros((4, 4), np.float32))
    with pytest.raises(ConfigError, match="device 'abacus'"):
        Pipeline.from_pretrained("foal", device="abacus")


def test_damaged_or_missing_weights_are_named(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    data = bytearray((folder / "video.safetensors").read_bytes())
    data[len(data) // 2] ^= 255
    (folder / "video.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match=r"video\.safetensors is damaged: SHA-256"):
        Pipeline.from_pretrained(folder)
    (folder / "video.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"video\.safetensors is missing"):
        Pipeline.from_pretrained(folder)
