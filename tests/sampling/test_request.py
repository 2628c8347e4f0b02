import math

import pytest

from happyhorse.errors import ConfigError, PromptError, SizeError
from happyhorse.sampling.request import Sampling, choose_size, make_request, parse_size

FOAL = Sampling()


def test_gaps_are_filled_by_the_model():
    request = make_request(Sampling(steps=8, seconds=2.0, guidance_video=3, guidance_audio=2), "a ball")
    assert (request.steps, request.shape.seconds, request.guidance) == (8, 2.0, (3.0, 2.0))
    assert (request.shape.width, request.shape.height) == (128, 128)


def test_a_missing_seed_is_drawn_and_differs():
    seeds = {make_request(FOAL, "a ball").seed for _ in range(8)}
    assert len(seeds) > 1
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_recipe_makes_the_same_request_again():
    request = make_request(
        FOAL, "a ball", seconds=2.5, size="16:9", seed=3, steps=7, guidance=(2.0, 5.0), sampler="euler"
    )
    assert make_request(FOAL, **request.recipe()) == request


def test_guidance_where_there_is_none_is_told():
    distilled = Sampling(guidance_video=1, guidance_audio=1)
    assert not list(make_request(distilled, "a ball").notes(distilled))
    assert not list(make_request(FOAL, "a ball", negative="rain").notes(FOAL))
    assert "negative" in next(make_request(distilled, "a ball", negative="rain").notes(distilled))
    assert "distilled" in next(make_request(distilled, "a ball", guidance=3.0).notes(distilled))


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t"])
def test_an_empty_prompt_is_refused(prompt):
    with pytest.raises(PromptError, match="empty"):
        make_request(FOAL, prompt)


def test_a_very_long_prompt_is_refused_with_the_limit():
    with pytest.raises(PromptError, match="6000 characters; the limit is 5000"):
        make_request(FOAL, "a" * 6000)


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(PromptError, match="UTF-8"):
        make_request(FOAL, b"a \xff ball".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize("seconds", [0, -1, 0.4, 10.1, math.nan, math.inf])
def test_seconds_out_of_range_name_the_range(seconds):
    with pytest.raises(SizeError, match=r"0\.5 to 10 s"):
        make_request(FOAL, "a ball", seconds=seconds)


@pytest.mark.parametrize(
    ("asked", "nearest"), [("1920x1080", "160x96"), ("100x100", "128x128"), ("1080x1920", "96x160"), ("8x8", "64x64")]
)
def test_a_size_not_allowed_names_the_nearest(asked, nearest):
    with pytest.raises(SizeError, match=f"{asked} cannot be made; the nearest size is {nearest} "):
        choose_size(FOAL, asked)


@pytest.mark.parametrize("text", ["", "x", "128", "128x", "axb", "128x128x3", "-1x5", "0x0", "1e3x5", "٣x٣"])
def test_what_is_not_a_size(text):
    with pytest.raises(SizeError):
        parse_size(text)


def test_aspects_and_images_choose_a_size():
    assert choose_size(FOAL, "16:9") == (160, 96)
    assert choose_size(FOAL, "9:16") == (96, 160)
    assert choose_size(FOAL, "1:1") == (128, 128)
    assert choose_size(FOAL, None, image_aspect=6 / 5) == (128, 128)
    assert choose_size(FOAL, None, image_aspect=16 / 9) == (160, 96)
    assert choose_size(FOAL, "1:1", image_aspect=16 / 9) == (128, 128)
    with pytest.raises(SizeError, match="WIDTHxHEIGHT"):
        choose_size(FOAL, "4:3")


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 1001},
        {"seed": -1},
        {"seed": 2**31},
        {"guidance": -1.0},
        {"guidance": math.nan},
        {"guidance": (1.0, 99.0)},
        {"guidance": (1.0, 2.0, 3.0)},
        {"sampler": "magic"},
    ],
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        make_request(FOAL, "a ball", **wrong)
