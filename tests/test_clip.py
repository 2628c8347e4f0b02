import json

import numpy as np
import pytest

from happyhorse.clip import Clip, read_recipe
from happyhorse.codecs.media import read_mp4
from happyhorse.errors import MediaError, OutputError


@pytest.fixture
def clip(moving_frames):
    recipe = {"happyhorse": "0.1.0", "prompt": 'a man says "你好"', "seed": 7}
    return Clip(moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000, recipe)


def test_a_saved_clip_carries_its_recipe(clip, tmp_path):
    path = clip.save(tmp_path / "a.mp4")
    assert read_recipe(path) == clip.recipe
    assert json.loads(read_mp4(path).comment) == clip.recipe
    assert clip.seconds == 0.5


def test_saving_over_a_file_needs_permission(clip, tmp_path):
    clip.save(tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="exists"):
        clip.save(tmp_path / "a.mp4")
    clip.save(tmp_path / "a.mp4", overwrite=True)


@pytest.mark.parametrize("recipe", [{}, {"prompt": "someone else's"}])
def test_other_comments_are_no_recipes(clip, tmp_path, recipe):
    Clip(clip.frames, clip.audio, 24, 24_000, recipe).save(tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="no recipe"):
        read_recipe(tmp_path / "a.mp4")
