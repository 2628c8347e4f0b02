import json

import numpy as np
import pytest

from happyhorse.cli.main import run
from happyhorse.codecs.media import write_mp4

RECIPE = {"happyhorse": "0.1.0", "prompt": "你好", "seed": 3, "guidance": [4.0, 2.0], "image": None}


@pytest.fixture
def clip(tmp_path, moving_frames):
    write_mp4(tmp_path / "a.mp4", moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000, json.dumps(RECIPE))
    return tmp_path / "a.mp4"


def test_the_recipe_is_printed_for_people_and_for_programs(clip, capsys):
    assert run(["info", str(clip)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPE)
    assert lines[1].split() == ["prompt", "你好"]
    assert run(["info", str(clip), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == RECIPE


def test_files_without_a_recipe(tmp_path, capsys):
    (tmp_path / "a.mp4").write_text("not a film")
    assert run(["info", str(tmp_path / "a.mp4")]) == 2
    assert "not a media file" in capsys.readouterr().err
    assert run(["info", str(tmp_path / "b.mp4")]) == 2
    assert "not found" in capsys.readouterr().err
