"""One real generation by the shipped foal, small, through the installed command, read back by PyAV."""

import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from happyhorse.codecs.media import read_mp4
from happyhorse.errors import WeightsError
from happyhorse.weights.registry import resolve

PROMPT = "a red ball bounces on wood"


def shipped() -> bool:
    try:
        return resolve("foal").folder.is_dir()
    except WeightsError:
        return False


pytestmark = pytest.mark.skipif(not shipped(), reason="this checkout holds no foal weights")


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    command = [sys.executable, "-m", "happyhorse", "generate", PROMPT, "--seed", "7"]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [*command, "-o", "ball.mp4", "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a prompt that the foal knows needs no remark"
    return folder / "ball.mp4", json.loads(done.stdout)


def test_streams_duration_and_rates(generated):
    path, line = generated
    with av.open(str(path)) as container:
        video, sound = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (video.frames, float(video.average_rate), sound.rate) == (120, 24.0, 24_000)
        assert container.duration == 5_000_000
        recipe = json.loads(container.metadata["comment"])
    assert (recipe["prompt"], recipe["seed"], recipe["model"]) == (PROMPT, 7, "foal")
    assert (line["seconds"], line["size"], line["steps"]) == (5.0, "128x128", 8)


def test_it_moves_and_sounds(generated):
    clip = read_mp4(generated[0])
    frames = clip.frames.astype(float)
    assert frames.std(axis=(1, 2, 3)).min() > 10, "a frame without contrast"
    assert np.abs(np.diff(frames, axis=0)).mean() > 0.2, "nothing moves"
    assert np.sqrt(np.mean(clip.audio**2)) > 1e-3, "silence"


def test_the_ball_is_red(generated):
    red, green, blue = np.moveaxis(read_mp4(generated[0]).frames.astype(float), 3, 0)
    strongly_red = (red > 120) & (red > 1.8 * green) & (red > 1.8 * blue)
    assert np.median(strongly_red.mean(axis=(1, 2))) > 0.01
