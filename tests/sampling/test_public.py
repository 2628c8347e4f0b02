import json

import numpy as np
import pytest
import torch

from happyhorse.clip import read_recipe
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import probe, write_wav
from happyhorse.codecs.oobleck import OobleckConfig, StableAudioCodec
from happyhorse.codecs.t5gemma import build_encoder
from happyhorse.codecs.turbo import TurboConfig, TurboDecoder
from happyhorse.codecs.wan import WanConfig, WanVideoCodec
from happyhorse.config import ModelConfig
from happyhorse.errors import MediaError, PromptError, SizeError
from happyhorse.memory.plan import Plan, Seat, Stage
from happyhorse.memory.turns import Source, Turns
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.public import (
    PublicIdentity,
    PublicPipeline,
    PublicPreview,
    cut,
    fit_lanczos,
    load_given,
    to_bytes,
)
from happyhorse.sampling.public_request import make_public_request, of_area, render_size
from happyhorse.sampling.published import BASE, DISTILL, PublishedShape

WIDTH = 24
"""Channels of the text features."""


# ------------------------------------------------------------------------------------------ a whole pipeline, tiny
class Words:
    """A token for each word."""

    def __call__(self, text: str, /) -> dict[str, list[int]]:
        return {"input_ids": [2, *(sum(map(ord, word)) % 60 + 3 for word in text.split())]}


def transformer(**changes) -> Transformer:
    geometry = ModelConfig(
        hidden=32,
        head_dim=8,
        query_heads=2,
        kv_heads=1,
        shared=2,
        text="features",
        text_channels=WIDTH,
        coordinates="v2",
    )
    model = Transformer(geometry.replace(**changes))
    for head in (model.final_linear_video, model.final_linear_audio):
        torch.nn.init.normal_(head.weight, std=0.2)
    return model.eval()


def text_encoder() -> torch.nn.Module:
    half = {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    return build_encoder({"encoder": half}, device="cpu", dtype=torch.float32)


MAKERS = {
    "text": text_encoder,
    "image": lambda: WanVideoCodec(WanConfig(encoder_width=4, decoder=False)),
    "generate": transformer,
    "render": lambda: transformer(coordinates="v1", local_layers=(0, 1), receptive_field=2),
    "picture": lambda: TurboDecoder(TurboConfig(widths=(16, 12, 8, 4), middle=1, resnets=(1, 1, 1, 1))).eval(),
    "sound": lambda: StableAudioCodec(OobleckConfig(width=4)).eval(),
}
LAYERS = {"text": lambda module: module.encoder.layers, "generate": lambda module: module.block.layers}


def pipeline(mode: str = "resident") -> PublicPipeline:
    def source(name: str) -> Source:
        def load(device: torch.device) -> torch.nn.Module:
            torch.manual_seed(sum(map(ord, name)))
            return MAKERS[name]().to(device)

        return Source(load, LAYERS.get(name))

    def seat(name: str) -> Seat:
        return Seat(Stage(name, (1, 1), 1, 1), mode if mode != "streamed" or name in LAYERS else "in turn")  # type: ignore

    turns = Turns(Plan(tuple(map(seat, MAKERS))), {name: source(name) for name in MAKERS}, torch.device("cpu"))
    return PublicPipeline(turns, Words(), PublicIdentity("tiny", "0123"), "cpu")


def request(denoising=DISTILL, **changes):
    values = {"seconds": 1, "size": (64, 64), "seed": 3, "steps": 2, **changes}
    return make_public_request("a horse at sea", denoising, **values)


@pytest.fixture(scope="module")
def clip():
    return pipeline().make(request())


def test_picture_and_sound_end_together(clip):
    assert clip.frames.shape == (25, 64, 64, 3)
    assert clip.audio.shape == (2, 44_100)
    assert (clip.fps, clip.sample_rate) == (25, 44_100)
    assert clip.latents.video.shape == (1, 48, 7, 4, 4) and clip.latents.audio.shape == (1, 26, 64)


def test_the_file_is_what_it_says(clip, tmp_path):
    clip.save(tmp_path / "horse.mp4")
    facts = probe(tmp_path / "horse.mp4")
    assert (facts.width, facts.height, facts.fps, facts.channels) == (64, 64, 25, 2)
    assert facts.seconds == pytest.approx(1, abs=0.05)
    recipe = read_recipe(tmp_path / "horse.mp4")
    assert recipe["prompt"] == "a horse at sea" and recipe["seed"] == 3 and recipe["model"] == "tiny"
    json.dumps(dict(clip.recipe))


@pytest.mark.parametrize("mode", ["in turn", "streamed"])
def test_every_placement_gives_the_same_bytes(clip, mode):
    other = pipeline(mode).make(request())
    assert np.array_equal(other.frames, clip.frames)
    assert np.array_equal(other.audio, clip.audio)


def test_a_seed_is_a_clip(clip):
    assert np.array_equal(pipeline().make(request()).frames, clip.frames)
    assert not np.array_equal(pipeline().make(request(seed=4)).frames, clip.frames)


def rendered(clip, image=None, seed=5):
    preview = PublicPreview(clip.latents, clip.audio, clip.recipe, image)
    return pipeline().render(preview, PublishedShape(1, 96, 96), seed)


def test_a_render_is_larger_and_keeps_the_sound(clip):
    large = rendered(clip)
    assert large.frames.shape == (25, 96, 96, 3)
    assert np.array_equal(large.audio, clip.audio)
    assert large.recipe["render"] == {"size": "96x96", "seed": 5, "steps": 5, "weights": "0123"}
    assert large.recipe["prompt"] == "a horse at sea"
    assert np.array_equal(rendered(clip).frames, large.frames)
    assert not np.array_equal(rendered(clip, seed=6).frames, large.frames)


def test_a_prompt_is_read_once():
    made = pipeline("in turn")
    asked = []
    encoder = made.turns.sources["text"]
    counted = Source(lambda device: (asked.append(device), encoder.load(device))[1], encoder.layers)
    made.turns.sources = {**made.turns.sources, "text": counted}
    first, second = made.make(request()), made.make(request(seed=4))
    made.render(PublicPreview(first.latents, first.audio, first.recipe), PublishedShape(1, 96, 96), 0)
    assert len(asked) == 1 and not np.array_equal(first.frames, second.frames)


def test_the_base_model_is_led_away_from_its_negative_prompt():
    made = [pipeline().make(request(BASE, negative=negative)) for negative in (None, "rain")]
    assert made[0].recipe["negative"].startswith("blurry")
    assert not np.array_equal(made[0].frames, made[1].frames)


def test_an_image_changes_the_clip_and_is_named_in_the_recipe(clip, tmp_path):
    write_png(tmp_path / "first.png", np.full((80, 100, 3), 200, np.uint8))
    given = load_given(image=tmp_path / "first.png")
    made = pipeline().make(request(), given)
    assert made.recipe["image"]["path"] == str(tmp_path / "first.png")
    assert not np.array_equal(made.frames, clip.frames)
    assert not np.array_equal(rendered(made, given.image).frames, rendered(made).frames)


def test_a_given_sound_is_kept_as_it_was(tmp_path):
    tone = 0.5 * np.sin(np.arange(22_050) / 20)[None].astype(np.float32)
    write_wav(tmp_path / "tone.wav", tone, 44_100)
    given = load_given(audio=tmp_path / "tone.wav")
    assert list(given.notes(request().shape)) == ["the sound lasts 0.50 s; the rest of the clip is silent"]
    made = pipeline().make(request(), given)
    assert made.audio.shape == (2, 44_100)
    assert np.abs(made.audio[0, :22_050] - tone[0]).max() < 1e-3
    assert not made.audio[:, 22_050:].any()


def test_progress_tells_the_stages():
    told: list[str] = []
    pipeline().make(request(), on_progress=lambda stage, done, total: told.append(stage))
    assert list(dict.fromkeys(told)) == ["read", "denoise", "picture", "sound"]


def test_wrong_input_is_refused(tmp_path):
    with pytest.raises(PromptError, match="the prompt has 901 tokens and the limit is 640"):
        pipeline().make(make_public_request("a " * 900, DISTILL, seconds=1, size=(64, 64)))
    with pytest.raises(PromptError, match="empty"):
        make_public_request("  ", DISTILL)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(MediaError):
        load_given(image=tmp_path / "bad.png")


# --------------------------------------------------------------------------------------------------------- requests
def test_sizes_follow_the_aspect():
    assert make_public_request("x", DISTILL).asked == ((448, 256), None)
    assert make_public_request("x", DISTILL, size="9:16").asked[0] == (256, 448)
    assert make_public_request("x", DISTILL, size="1:1").asked[0] == (352, 352)
    assert make_public_request("x", DISTILL, image_aspect=4 / 3).asked[0] == (384, 288)
    assert render_size("1080p", (448, 256)) == (1920, 1088)
    assert render_size("540p", (256, 448)) == (512, 896)
    assert render_size("720p", (352, 352)) == (960, 960)
    width, height = of_area((1920, 1088), 2.4)
    assert width % 32 == height % 32 == 0 and width * height == pytest.approx(1920 * 1088, rel=0.05)


def test_changes_of_size_are_said():
    asked = make_public_request("x", DISTILL, size="480x272", render="900x500")
    assert (asked.shape.width, asked.shape.height) == (480, 256)
    assert list(asked.notes()) == [
        "480x272 is made as 480x256: width and height are multiples of 32",
        "900x500 is made as 896x480: width and height are multiples of 32",
    ]
    assert not list(make_public_request("x", DISTILL).notes())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seconds": 0.5}, "0.5 s cannot be made"),
        ({"seconds": 60}, "60 s cannot be made"),
        ({"size": "1920x1088"}, "at most 458752 pixels"),
        ({"size": "32x32"}, "at least 64"),
        ({"render": "8k"}, "540p, 720p, 1080p"),
        ({"render": "4096x2160"}, "at most 2088960 pixels"),
    ],
)
def test_sizes_that_cannot_be_made(values, words):
    with pytest.raises(SizeError, match=words):
        make_public_request("x", DISTILL, **values)


# ----------------------------------------------------------------------------------------------- as published
@pytest.mark.parametrize("index", range(4))
def test_images_are_cropped_and_resized_as_published(golden, index):
    case = golden("prepost")
    expected = case[f"image{index}.tensor"]
    sized = fit_lanczos(case[f"image{index}.rgb_hwc"].numpy(), *expected.shape[2:])
    assert case.error(f"image{index}.tensor", torch.from_numpy(sized).permute(2, 0, 1)[None] / 127.5 - 1) < 1e-5


def test_frames_become_bytes_as_published(golden):
    case = golden("prepost")
    assert torch.equal(torch.from_numpy(to_bytes(case["video.decoded"])), case["video.uint8_thwc"])


def test_cut_pads_with_silence():
    assert cut(np.ones(3, np.float32), 5).tolist() == [1, 1, 1, 0, 0]
    assert cut(np.ones(3, np.float32), 2).tolist() == [1, 1]
