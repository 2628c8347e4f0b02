"""``happyhorse render`` and ``library``: previews become large, sound stays bit for bit, errors name the way out."""

import json
import shutil

import numpy as np
import pytest

from happyhorse.cli.main import run
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import probe, read_mp4, write_mp4

BALL = "a red ball bounces on wood"


@pytest.fixture
def happyhorse(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments):
        code = run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


@pytest.fixture
def made(happyhorse, tiny_model):
    """A preview: ball.mp4."""
    code, _, err = happyhorse("generate", BALL, "--seed", 7, "--size", "64x64", "-o", "ball.mp4", "--model", tiny_model)
    assert (code, err) == (0, "")


def refused(result, words):
    code, out, err = result
    assert code == 2 and out == "" and words in err, result
    assert len(err.strip().splitlines()) <= 2


def test_a_render_is_larger_and_sounds_the_same(happyhorse, made, tmp_path, tiny_model):
    code, out, err = happyhorse("render", "ball.mp4", "--model", tiny_model)
    assert (code, err) == (0, "") and "ball-render.mp4  0.5 s, 256x256" in out
    preview, render = read_mp4(tmp_path / "ball.mp4"), read_mp4(tmp_path / "ball-render.mp4")
    assert render.frames.shape == (12, 256, 256, 3) and render.fps == 24
    assert np.array_equal(render.audio, preview.audio)
    assert json.loads(render.comment)["render"]["size"] == "256x256"


def test_both_with_one_command(happyhorse, tmp_path, tiny_model):
    asked = ("generate", BALL, "--seed", 7, "--size", "64x64", "--count", 2, "-o", "x.mp4", "--model", tiny_model)
    code, out, _ = happyhorse(*asked, "--render", "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["path"] for line in lines] == ["x-1.mp4", "x-1-render.mp4", "x-2.mp4", "x-2-render.mp4"]
    assert probe("x-2-render.mp4").width == 256 and lines[1]["preview"] == "x-1.mp4"
    happyhorse("render", "x-1.mp4", "--model", tiny_model, "-o", "later.mp4")
    at_once, later = (read_mp4(name).frames.astype(float) for name in ("x-1-render.mp4", "later.mp4"))
    assert np.abs(at_once - later).mean() < 1  # half precision in the library, and H.264


def test_the_library_lists_what_was_made(happyhorse, made, tmp_path, library):
    code, out, _ = happyhorse("library", "--json")
    (line,) = map(json.loads, out.splitlines())
    assert code == 0 and line["prompt"] == BALL and line["seed"] == 7
    assert line["path"] == str(tmp_path / "ball.mp4") and line["there"]
    assert line["thumbnail"].startswith(str(library))
    (tmp_path / "ball.mp4").rename("moved.mp4")
    assert "(moved)" in happyhorse("library")[1]
    assert "no clips in" in happyhorse("library", "--library", tmp_path / "none")[1]


def test_a_clip_that_was_moved_and_a_library_elsewhere(happyhorse, tmp_path, tiny_model):
    asked = ("generate", BALL, "--size", "64x64", "-o", "a.mp4", "--model", tiny_model, "--library", tmp_path / "mine")
    assert happyhorse(*asked)[0] == 0
    shutil.move("a.mp4", "b.mp4")
    code, _, err = happyhorse("render", "b.mp4", "--model", tiny_model, "--library", tmp_path / "mine")
    assert (code, err) == (0, "") and probe("b-render.mp4").width == 256


def test_without_its_latents_the_picture_is_encoded_again_and_that_is_said(happyhorse, made, library, tiny_model):
    shutil.rmtree(library)
    code, _, err = happyhorse("render", "ball.mp4", "--model", tiny_model)
    assert code == 0 and "note: the latents of this clip are not in" in err
    assert np.array_equal(read_mp4("ball-render.mp4").audio, read_mp4("ball.mp4").audio)


def test_an_image_that_is_gone_is_said(happyhorse, tmp_path, tiny_model):
    write_png(tmp_path / "dog.png", np.full((64, 64, 3), 90, np.uint8))
    happyhorse("generate", BALL, "--image", "dog.png", "--size", "64x64", "-o", "d.mp4", "--model", tiny_model)
    assert happyhorse("render", "d.mp4", "--model", tiny_model)[2] == ""
    (tmp_path / "dog.png").unlink()
    code, _, err = happyhorse("render", "d.mp4", "--model", tiny_model, "--overwrite")
    assert code == 0 and "the image dog.png is not there any more" in err


def test_what_cannot_be_rendered(happyhorse, made, tmp_path, tiny_model, moving_frames):
    refused(happyhorse("render", "none.mp4"), "none.mp4 was not found")
    (tmp_path / "broken.mp4").write_bytes(b"not a film")
    refused(happyhorse("render", "broken.mp4"), "is damaged")
    write_mp4("film.mp4", moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000)
    refused(happyhorse("render", "film.mp4"), "holds no recipe; only clips written by happyhorse do")
    refused(happyhorse("render", "ball.mp4"), "was made by tiny: unknown model 'tiny'")
    refused(happyhorse("render", "ball.mp4", "--model", tiny_model, "-o", "x.avi"), "does not end in .mp4")
    refused(happyhorse("render", "ball.mp4", "--model", tiny_model, "-o", "no/x.mp4"), "does not exist")
    assert happyhorse("render", "ball.mp4", "--model", tiny_model)[0] == 0
    refused(happyhorse("render", "ball.mp4", "--model", tiny_model), "ball-render.mp4 exists")
    refused(happyhorse("render", "ball-render.mp4", "--model", tiny_model), "is a render already")


def test_a_film_that_is_given_has_nothing_to_render(happyhorse, tiny_model, moving_frames, tmp_path):
    write_mp4("film.mp4", moving_frames, np.zeros((1, 12_000), np.float32), 24, 24_000)
    asked = ("generate", BALL, "--video", "film.mp4", "-o", "s.mp4", "--model", tiny_model)
    refused(happyhorse(*asked, "--render"), "--video gives one")
    assert happyhorse(*asked)[0] == 0
    refused(happyhorse("render", "s.mp4", "--model", tiny_model), "a film that was given")


def test_a_library_that_cannot_be_written_costs_a_note_and_not_the_clip(happyhorse, tmp_path, tiny_model):
    (tmp_path / "file").write_text("")
    asked = ("generate", BALL, "--size", "64x64", "-o", "a.mp4", "--model", tiny_model, "--library", tmp_path / "file")
    code, _, err = happyhorse(*asked)
    assert code == 0 and "note: not kept in the library" in err and probe("a.mp4").width == 64
