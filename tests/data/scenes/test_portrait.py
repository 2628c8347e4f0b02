"""The drawn face: its mouth is as open as the truth says, its colours are those that were asked for."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from happyhorse.data.scenes import portrait
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.shapes import rgb
from happyhorse.data.scenes.talker import FAMILY

LOOK = {
    "voice": "man",
    "skin": "light",
    "hair": "black",
    "background": "blue",
    "language": "English",
    "sentence": "hello",
}


def drawn(opening: tuple[float, ...], canvas: Canvas, **look: str) -> torch.Tensor:
    """Frames [3, F, h, w] of a face without sway or blinks and with the given mouth."""
    plan = FAMILY.plan(0, 5, LOOK | look)
    truth = dataclasses.replace(plan.truth, mouth=opening)
    plan = dataclasses.replace(plan, truth=truth, motion=dict(plan.motion) | {"blinks": (), "sway": 0.0})
    return portrait.draw([plan], canvas)[0]


@pytest.mark.parametrize("skin", portrait.SKIN)
def test_the_dark_of_the_mouth_grows_with_its_opening(skin):
    frames = drawn((0.0, 0.25, 0.5, 0.75, 1.0), Canvas(5, 128, 128), skin=skin)
    mouth = frames[:, :, 78:104, 40:88]
    near = ((mouth - rgb("#3a0f16")[:, None, None, None]).abs().amax(0) < 0.15).sum((1, 2))
    assert (near.diff() > 0).all()
    assert near[-1] > 300


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (160, 96)])
def test_an_open_mouth_is_a_sixth_of_the_shorter_side_tall(size):
    shut, wide = drawn((0.0, 1.0), Canvas(2, *size)).unbind(1)
    middle = size[1] // 2
    changed = (shut - wide).abs().amax(0)[:, middle - 4 : middle + 4].amax(1) > 0.1
    rows = changed.nonzero()
    assert 0.14 < (int(rows.max()) - int(rows.min())) / min(size) < 0.32


def test_the_scene_is_the_same_at_any_resolution():
    plan = FAMILY.plan(4, 2, LOOK)
    small = portrait.draw([plan], Canvas(13, 64, 64))[0]
    large = portrait.draw([plan], Canvas(13, 256, 256))[0]
    pooled = torch.nn.functional.avg_pool2d(large.transpose(0, 1), 4).transpose(0, 1)
    assert float((small - pooled).abs().mean()) < 0.006


@pytest.mark.parametrize("voice", portrait.SHIRT)
def test_hair_skin_and_wall_have_the_colours_that_were_asked_for(voice):
    for hair in portrait.HAIR:
        frame = drawn((0.0,), Canvas(1, 128, 128), voice=voice, hair=hair, skin="dark", background="pink")[:, 0]
        places = {"hair": frame[:, 14:18, 56:72], "skin": frame[:, 40:44, 60:68], "wall": frame[:, 60:68, 2:8]}
        wanted = {"hair": portrait.HAIR[hair], "skin": portrait.SKIN["dark"], "wall": portrait.BACKGROUND["pink"]}
        for place, pixels in places.items():
            assert (pixels.mean((1, 2)) - rgb(wanted[place])).abs().max() < 0.17, (hair, place)


def test_eyes_close_in_the_middle_of_a_blink():
    plan = FAMILY.plan(0, 5, LOOK)
    plan = dataclasses.replace(plan, motion=dict(plan.motion) | {"blinks": (0.5,)})
    canvas = Canvas(24, 128, 128)
    lids = portrait.eyelids([plan], canvas)[0, :, 0, 0]
    assert lids[12] == 0 and lids[:9].min() == 1 and lids[16:].min() == 1
    eye_white = portrait.draw([plan], canvas)[0].amin(0)[:, 52:64, 40:60].amax((1, 2))
    assert eye_white[12] < eye_white[0] - 0.1


def test_pixels_stay_between_black_and_white():
    frames = drawn((0.0, 1.0), Canvas(2, 64, 64))
    assert frames.shape == (3, 2, 64, 64)
    assert float(frames.min()) >= 0 and float(frames.max()) <= 1
