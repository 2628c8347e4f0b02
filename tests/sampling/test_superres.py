"""Super-resolution: what is enlarged, where sampling starts, and a render that keeps what it has to keep."""

import math

import numpy as np
import pytest
import torch

from happyhorse.codecs.audio import AudioCodec
from happyhorse.codecs.video import VideoCodec
from happyhorse.compile.products import serves
from happyhorse.errors import ConfigError, MediaError, SizeError, WeightsError
from happyhorse.sampling import conditions
from happyhorse.sampling.given import load_image
from happyhorse.sampling.pipeline import Pipeline
from happyhorse.sampling.render import Preview, Renderer, as_preview, render_shape
from happyhorse.sampling.superres import (
    Enlarging,
    bicubic,
    enlarge,
    enlarge_latents,
    enlarge_picture,
    render_latents,
    starting_point,
)
from happyhorse.types import ClipShape, Latents, Text
from happyhorse.weights.store import write_manifest
from tests.conftest import NARROW_VIDEO


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(3)
    codec = VideoCodec(NARROW_VIDEO)
    for parameter in codec.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return codec.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def renderer(tiny_model):
    return Renderer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def preview(tiny_model):
    return Pipeline.from_pretrained(tiny_model)("a red ball bounces on wood", seed=4, size=(64, 64))


# --------------------------------------------------------------------------------------------------- the starting point
def test_trilinear_enlargement_keeps_the_corners_and_straight_lines():
    ramp = torch.linspace(0, 3, 4)[None, None, None, None].expand(1, 1, 2, 4, 4)
    large = enlarge_latents(ramp, (4 * ramp.shape[3], 4 * ramp.shape[4]))
    assert large.shape == (1, 1, 2, 16, 16)
    torch.testing.assert_close(large[0, 0, 0, 0], torch.linspace(0, 3, 16))


def test_the_enlarged_picture_is_the_same_in_parts_and_in_one_piece(codec):
    video = torch.randn(1, 48, 6, 4, 4)
    whole = codec.encode(bicubic(codec.decode(video), 2))
    torch.testing.assert_close(enlarge_picture(video, 2, codec), whole)
    assert torch.equal(enlarge(video, Enlarging(scale=2, source="picture"), codec), enlarge_picture(video, 2, codec))
    assert torch.equal(
        enlarge(video, Enlarging(scale=2), codec), enlarge_latents(video, (2 * video.shape[3], 2 * video.shape[4]))
    )


def test_the_starting_point_has_unit_variance_and_the_preview_in_it():
    torch.manual_seed(0)
    enlarged, noise = torch.randn(2, 100_000)
    start = starting_point(enlarged, noise, 0.838910)
    assert start.var().item() == pytest.approx(1, abs=0.02)
    assert (start * enlarged).mean().item() == pytest.approx(0.83891, abs=0.02)
    assert (start * noise).mean().item() == pytest.approx(0.544270, abs=0.02)
    assert torch.equal(starting_point(enlarged, noise, 1.0), enlarged)


def test_the_exact_field_leads_to_the_render_and_the_sound_stays():
    """With v = x_1 - render the last latents are the render, in any number of steps."""
    torch.manual_seed(1)
    render, start = torch.randn(2, 1, 48, 2, 4, 4)
    audio = torch.randn(1, 5, 64)

    class Exact(torch.nn.Module):
        config = type("Config", (), {"text": "features"})

        def layout(self, *anything):
            return None

        def forward(self, latents, *anything):
            assert torch.equal(latents.audio, audio)
            return Latents(start - render, torch.ones_like(latents.audio))

    known = conditions.with_audio(conditions.nothing(Latents(start, audio)), audio)
    text = Text(torch.zeros(1, 1, 8), torch.ones(1, dtype=torch.long))
    for settings in (Enlarging(), Enlarging(steps=1), Enlarging(sampler="unipc")):
        found = render_latents(Exact(), text, Latents(start, audio), known, settings)
        torch.testing.assert_close(found, render, atol=1e-4, rtol=1e-4)


def test_settings_that_make_no_sense():
    for wrong in ({"source": "dreams"}, {"sampler": "dmd"}, {"kept": 1.5}, {"steps": 0}, {"scale": 1}):
        with pytest.raises(ConfigError):
            Enlarging(**wrong)
    assert math.isclose(Enlarging().kept ** 2 + 0.544270**2, 1, abs_tol=1e-5)  # the published pair


# ----------------------------------------------------------------------------------------------------------- the render
def test_a_render_has_four_times_the_size_and_the_sound_of_its_preview(renderer, preview):
    render = renderer.render(preview, seed=1)
    assert render.frames.shape == (12, 256, 256, 3)
    assert np.array_equal(render.audio, preview.audio)
    assert render.recipe["size"] == "64x64" and render.recipe["render"]["size"] == "256x256"
    assert list(render.timings) == ["enlarge", "render", "picture"]


def test_a_prepared_model_renders_the_same_and_the_recipe_says_so(tiny_model, renderer, preview):
    plain = Renderer.from_pretrained(tiny_model, compile="off")
    expected, made = plain.render(preview, seed=3), renderer.render(preview, seed=3)
    assert np.abs(made.frames.astype(int) - expected.frames).max() <= 1
    assert "compile" not in expected.recipe["render"]
    if serves(torch.float32):
        assert made.recipe["render"]["compile"] == {"scope": "off", "attention": "auto", "linear": "onednn"}
    with pytest.raises(ConfigError, match="compile is 'fast'"):
        Renderer.from_pretrained(tiny_model, compile="fast")


def test_a_seed_gives_the_same_render_and_another_one_another(renderer, preview):
    first, again, other = (renderer.render(preview, seed=seed).frames for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_preview_without_latents_is_encoded_from_its_frames(renderer, preview):
    latents = renderer.encode(Preview(preview.frames, preview.audio, dict(preview.recipe)))
    assert latents.video.shape == preview.latents.video.shape and latents.audio.shape == preview.latents.audio.shape
    seen = []
    render = renderer.render(
        Preview(preview.frames, preview.audio, dict(preview.recipe)), on_progress=lambda *told: seen.append(told[0])
    )
    assert render.frames.shape == (12, 256, 256, 3) and "enlarge" in seen


def test_the_prompt_and_the_first_image_reach_the_render(renderer, preview):
    plain = renderer.render(preview).frames
    other = Preview(preview.frames, preview.audio, {**preview.recipe, "prompt": "rain"}, preview.latents)
    assert not np.array_equal(renderer.render(other).frames, plain)
    image = load_image(np.full((300, 300, 3), 200, np.uint8))
    begun = Preview(preview.frames, preview.audio, dict(preview.recipe), preview.latents, image)
    assert not np.array_equal(renderer.render(begun).frames, plain)


def test_what_cannot_be_rendered_says_why(renderer, preview, tmp_path, tiny_model):
    for recipe, words in (
        ({**preview.recipe, "render": {"size": "256x256"}}, "is a render already"),
        ({**preview.recipe, "video": {"path": "film.mp4"}}, "a film that was given"),
        ({"happyhorse": "1"}, "no prompt"),
    ):
        clip = type(preview)(preview.frames, preview.audio, 24, 24_000, recipe)
        with pytest.raises(MediaError, match=words):
            as_preview(clip)
    with pytest.raises(SizeError, match="1024x512 would become 4096x2048"):
        render_shape(ClipShape(1, 512, 1024), 4)
    folder = tmp_path / "model"
    folder.mkdir()
    for role in ("base", "video", "audio"):
        (folder / f"{role}.safetensors").symlink_to(tiny_model / f"{role}.safetensors")
    write_manifest(folder, "small")
    with pytest.raises(WeightsError, match="model small has no super-resolution weights"):
        Renderer.from_pretrained(folder)


def test_decoding_in_parts_is_decoding(codec):
    latent = torch.randn(1, 48, 7, 2, 2)
    whole = codec.decode(latent)
    for chunk in (1, 2, 3, 7, 9):
        parts = list(codec.decode_chunks(latent, chunk))
        assert len(parts) == -(-7 // chunk)
        torch.testing.assert_close(torch.cat(parts, dim=2), whole)


def test_the_audio_codec_is_not_asked_for_a_render(renderer, preview, monkeypatch):
    monkeypatch.setattr(AudioCodec, "decode", lambda *anything: pytest.fail("the sound is the preview's"))
    renderer.render(preview)
