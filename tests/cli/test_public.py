import json

import numpy as np
import pytest

from happyhorse.cli.main import run, with_render_value
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import probe, read_mp4, write_wav

DISTILL = ("--model", "magihuman-distill")
SMALL = ("--seconds", "1", "--size", "64x64", "--seed", "1", "--steps", "2")


@pytest.fixture
def happyhorse(public_models, tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder, with tiny public models; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments):
        code = run([*map(str, arguments)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def test_a_clip_and_its_render(happyhorse, tmp_path):
    code, out, err = happyhorse("generate", "a horse", *DISTILL, *SMALL, "-o", "a.mp4", "--render", "96x128", "--json")
    assert code == 0, err
    clip, render = map(json.loads, out.splitlines())
    assert (clip["size"], clip["fps"], clip["sample_rate"], clip["steps"]) == ("64x64", 25, 44_100, 2)
    assert (render["path"], render["size"]) == ("a-render.mp4", "96x128")
    small, large = probe(tmp_path / "a.mp4"), probe(tmp_path / "a-render.mp4")
    assert (small.width, small.height, large.width, large.height) == (64, 64, 96, 128)
    assert small.seconds == pytest.approx(1, abs=0.05)
    assert np.array_equal(read_mp4(tmp_path / "a.mp4").audio, read_mp4(tmp_path / "a-render.mp4").audio)
    assert "generate resident" in err


def test_a_clip_can_be_rendered_later_to_the_same_picture(happyhorse, tmp_path):
    happyhorse("generate", "a horse", *DISTILL, *SMALL, "-o", "a.mp4", "--render", "96x96")
    code, out, err = happyhorse("render", "a.mp4", "-o", "b.mp4", "--size", "96x96")
    assert code == 0, err
    assert out.startswith("b.mp4  1 s, 96x96, seed 1")
    # The library keeps latents in half precision.
    first, second = (read_mp4(tmp_path / name).frames.astype(float) for name in ("a-render.mp4", "b.mp4"))
    assert np.abs(first - second).mean() < 10 < np.abs(first - first[::-1]).mean()


def test_several_prompts_and_a_sound(happyhorse, tmp_path):
    write_wav(tmp_path / "tone.wav", np.sin(np.arange(60_000) / 9)[None].astype(np.float32) / 2, 44_100)
    (tmp_path / "prompts.txt").write_text("a horse\na mare\n")
    options = ("--size", "64x64", "--seed", "1", "--steps", "1", "--audio", "tone.wav", "--count", "2")
    code, _, err = happyhorse("generate", "--prompts", "prompts.txt", *DISTILL, *options)
    assert code == 0, err
    names = ["a-horse-1.mp4", "a-horse-2.mp4", "a-mare-1.mp4", "a-mare-2.mp4"]
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == names
    assert probe(tmp_path / "a-horse-1.mp4").seconds == pytest.approx(1.36, abs=0.05)


def test_an_image_gives_the_aspect(happyhorse, tmp_path):
    write_png(tmp_path / "tall.png", np.full((90, 50, 3), 99, np.uint8))
    code, _, err = happyhorse(
        "generate", "a horse", *DISTILL, "--image", "tall.png", "--seconds", "1", "--steps", "1", "-o", "a.mp4"
    )
    assert code == 0, err
    assert probe(tmp_path / "a.mp4").height == 448


def test_changes_of_size_are_said(happyhorse):
    options = ("--seconds", "1", "--size", "70x80", "--steps", "1", "-o", "a.mp4")
    code, _, err = happyhorse("generate", "a horse", *DISTILL, *options)
    assert code == 0
    assert "70x80 is made as 64x64" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--loop",), "has nothing for --loop"),
        (("--guidance", "3"), "has nothing for --guidance"),
        (("--render", "9000p"), "540p, 720p, 1080p"),
        (("--format", "int4"), "there is no format 'int4'"),
        (("--format", "fp8"), "happyhorse convert magihuman-distill --format fp8"),
        (("--seconds", "100"), "1 to 15 s"),
        (("--image", "gone.png"), "gone.png"),
        (("--device", "tpu"), "tpu"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(happyhorse, tmp_path, options, words):
    code, out, err = happyhorse("generate", "a horse", *DISTILL, "-o", "a.mp4", *options)
    assert (code, out) == (2, "")
    assert words in err and len(err.strip().splitlines()) <= 2
    assert not list(tmp_path.iterdir())


def test_models_that_are_not_here_are_named_with_their_command(happyhorse, public_models):
    (public_models / "magihuman-distill" / "model.safetensors").unlink()
    code, _, err = happyhorse("generate", "a horse", *DISTILL)
    assert code == 2 and "happyhorse pull magihuman-distill" in err
    code, _, err = happyhorse("generate", "a horse", "--model", "magihuman-540p")
    assert code == 2 and "makes no clips by itself" in err


def test_a_clip_whose_latents_are_gone_cannot_be_rendered(happyhorse, tmp_path):
    happyhorse("generate", "a horse", *DISTILL, *SMALL, "-o", "a.mp4", "--library", tmp_path / "kept")
    code, _, err = happyhorse("render", "a.mp4")
    assert code == 2 and "latents" in err and "--render" in err


def test_converted_weights_by_name(happyhorse, public_models):
    code, _, err = happyhorse("convert", "magihuman-distill", "--format", "int8")
    assert code == 0, err
    assert (public_models / "magihuman-distill-int8").is_dir()
    code, _, err = happyhorse("generate", "a horse", *DISTILL, *SMALL, "-o", "a.mp4", "--format", "int8")
    assert code == 0, err


def test_the_doctor_plans(happyhorse):
    code, out, err = happyhorse("doctor", *DISTILL, "--memory", "2", "--render", "540p")
    assert code == 0, err
    assert "2.0 GiB free on cuda" in out and "expected peak" in out and "render" in out
    code, out, err = happyhorse("doctor", *DISTILL, "--memory", "0.01", "--render", "1080p")
    assert code == 2 and "are missing" in err


def test_render_may_stand_alone_or_before_a_size():
    assert with_render_value(["--render"]) == ["--render="]
    assert with_render_value(["--render", "540p", "x"]) == ["--render=540p", "x"]
    assert with_render_value(["--render", "a ball"]) == ["--render=", "a ball"]
    assert with_render_value(["--render=1280x704"]) == ["--render=1280x704"]
    assert with_render_value(["render", "clip.mp4"]) == ["render", "clip.mp4"]
