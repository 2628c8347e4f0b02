import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from happyhorse.cli.generate import output_paths, parse_guidance, slug
from happyhorse.cli.main import run
from happyhorse.codecs import media
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import probe, read_mp4, write_mp4
from happyhorse.codecs.video import VideoCodec
from happyhorse.errors import ConfigError
from happyhorse.sampling.pipeline import Pipeline
from happyhorse.sampling.request import Sampling, make_request

BALL = "a red ball bounces on wood"


@pytest.fixture
def generate(tiny_model, tmp_path, monkeypatch, capsys):
    """Runs ``happyhorse generate`` with the tiny model in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def go(*arguments):
        model = [] if "--model" in arguments else ["--model", str(tiny_model)]
        code = run(["generate", *map(str, arguments), *model])
        said = capsys.readouterr()
        return code, said.out, said.err

    return go


def refused(result, words, code=2):
    """A refusal is one or two lines on stderr, nothing on stdout, the right exit code."""
    assert result[0] == code, result
    assert result[1] == ""
    assert words in result[2]
    assert len(result[2].strip().splitlines()) <= 2


def files(folder):
    return sorted(path.name for path in folder.iterdir())


# ------------------------------------------------------------------------------------------------------ what is written
def test_a_clip_and_its_line_of_json(generate, tmp_path, tiny_model):
    code, out, err = generate(BALL, "--seed", 7, "-o", "ball.mp4", "--json")
    assert (code, err) == (0, "")
    line = json.loads(out)
    assert line["path"] == "ball.mp4"
    assert (line["seed"], line["seconds"], line["size"], line["fps"]) == (7, 0.5, "128x128", 24)
    assert (line["sample_rate"], line["model"], line["steps"]) == (24_000, "tiny", 2)
    assert list(line["timings"]) == ["load", "read", "denoise", "picture", "sound", "write"]
    assert files(tmp_path) == ["ball.mp4"]
    facts = probe(tmp_path / "ball.mp4")
    assert (facts.width, facts.height, facts.seconds, facts.sample_rate) == (128, 128, 0.5, 24_000)
    assert json.loads(facts.comment)["prompt"] == BALL


def test_the_name_comes_from_the_prompt_and_the_seed(generate, tmp_path):
    code, out, _ = generate("A red ball, on WOOD!", "--seed", 3)
    assert code == 0
    assert "a-red-ball-on-wood-3.mp4" in out
    assert files(tmp_path) == ["a-red-ball-on-wood-3.mp4"]


def test_several_seeds_and_several_prompts(generate, tmp_path):
    (tmp_path / "prompts.txt").write_text("a ball\n\n  你好  \n", encoding="utf-8")
    code, out, _ = generate("--prompts", "prompts.txt", "--count", 2, "--seed", 5, "-o", "x.mp4", "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["path"], line["prompt"], line["seed"]) for line in lines] == [
        ("x-1.mp4", "a ball", 5),
        ("x-2.mp4", "a ball", 6),
        ("x-3.mp4", "你好", 5),
        ("x-4.mp4", "你好", 6),
    ]
    assert files(tmp_path) == ["prompts.txt", "x-1.mp4", "x-2.mp4", "x-3.mp4", "x-4.mp4"]


def test_like_repeats_a_clip_and_options_change_it(generate, tmp_path):
    asked = ["--seconds", 0.75, "--aspect", "16:9", "--guidance", "2,3", "--steps", 3, "--negative", "rain"]
    assert generate(BALL, *asked, "-o", "one.mp4")[0] == 0
    assert generate("--like", "one.mp4", "-o", "two.mp4")[2] == ""
    one, two = read_mp4("one.mp4"), read_mp4("two.mp4")
    assert one.comment == two.comment
    assert np.array_equal(one.frames, two.frames)
    assert np.array_equal(one.audio, two.audio)
    assert generate("--like", "one.mp4", "--seed", 1, "--steps", 2, "-o", "three.mp4")[0] == 0
    recipe, other = (json.loads(probe(name).comment) for name in ("one.mp4", "three.mp4"))
    assert {key for key in recipe if recipe[key] != other[key]} == {"seed", "steps"}


def test_like_warns_when_the_weights_are_others(generate, tmp_path, tiny_model):
    assert generate(BALL, "-o", "one.mp4")[0] == 0
    recipe = json.loads(probe("one.mp4").comment) | {"weights": "0" * 16}
    clip = read_mp4("one.mp4")
    write_mp4("old.mp4", clip.frames, clip.audio, 24, 24_000, json.dumps(recipe))
    code, _, err = generate("--like", "old.mp4", "-o", "two.mp4")
    assert code == 0
    assert "other weights" in err


def test_like_finds_its_image_again(generate, tmp_path, moving_frames):
    write_png("start.png", moving_frames[0])
    assert generate(BALL, "--image", "start.png", "-o", "one.mp4")[0] == 0
    assert generate("--like", "one.mp4", "-o", "two.mp4")[0] == 0
    assert np.array_equal(read_mp4("one.mp4").frames, read_mp4("two.mp4").frames)
    write_png("start.png", moving_frames[5])
    refused(generate("--like", "one.mp4", "-o", "three.mp4"), "start.png")


# ---------------------------------------------------------------------------------------------------- what is refused
def test_prompts_that_are_refused(generate, tmp_path):
    refused(generate(), "say what to make")
    refused(generate("  "), "the prompt is empty")
    refused(generate("zyzzyva " * 100), "the limit is 128")
    refused(generate("x" * 6000), "the limit is 5000")
    refused(generate(BALL, "--negative", "zyzzyva " * 100), "the limit is 128")
    assert files(tmp_path) == []


def test_prompt_files_that_are_refused(generate, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes(b"\xe4\xf6\xfc")
    refused(generate("--prompts", "empty.txt"), "holds no prompt")
    refused(generate("--prompts", "latin.txt"), "not UTF-8")
    refused(generate("--prompts", "missing.txt"), "not found")
    refused(generate("--prompts", tmp_path), "may not be read")
    refused(generate(BALL, "--prompts", "empty.txt"), "not both")


def test_models_that_are_refused(generate, tmp_path, monkeypatch):
    monkeypatch.setenv("HAPPYHORSE_MODELS", str(tmp_path / "models"))
    refused(generate(BALL, "--model", "pony"), "known are foal, foal-base, magihuman-base")
    refused(generate(BALL, "--model", "magihuman-base"), "get it with: happyhorse pull magihuman-base")
    refused(generate(BALL, "--model", tmp_path), "not a model folder")
    refused(generate(BALL, "--device", "abacus"), "device 'abacus'")


def test_numbers_that_are_refused(generate, tmp_path):
    refused(generate(BALL, "--size", "1920x1080"), "the nearest size is 160x96")
    refused(generate(BALL, "--size", "large"), "WIDTHxHEIGHT")
    refused(generate(BALL, "--aspect", "2:1"), "1:1, 16:9, 9:16")
    refused(generate(BALL, "--size", "64x64", "--aspect", "1:1"), "not both")
    refused(generate(BALL, "--seconds", 60), "0.5 to 10 s")
    refused(generate(BALL, "--seconds", "nan"), "0.5 to 10 s")
    refused(generate(BALL, "--steps", 0), "1 to 1000")
    refused(generate(BALL, "--guidance", "lots"), "--guidance 'lots'")
    refused(generate(BALL, "--guidance", "-2"), "0 to 30")
    refused(generate(BALL, "--seed", "-1"), "seed -1")
    refused(generate(BALL, "--count", 0), "1 to 1000")
    assert files(tmp_path) == []


def test_images_that_are_refused(generate, tmp_path, moving_frames):
    (tmp_path / "text.png").write_text("no picture")
    write_png("cut.png", moving_frames[0])
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:100])
    os.truncate(tmp_path / "text.png", 10)
    with (tmp_path / "big.png").open("wb") as file:
        file.truncate(2**29)  # sparse: takes no room on disk
    before = files(tmp_path)
    refused(generate(BALL, "--image", "missing.png"), "not found")
    refused(generate(BALL, "--image", "text.png"), "not a readable image")
    refused(generate(BALL, "--image", "cut.png"), "not a readable image")
    refused(generate(BALL, "--image", "big.png"), "the limit is 256 MiB")
    refused(generate(BALL, "--image", tmp_path), "is a folder")
    assert files(tmp_path) == before


def test_outputs_that_are_refused(generate, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    refused(generate(BALL, "-o", "missing/a.mp4"), "does not exist")
    refused(generate(BALL, "-o", "file/a.mp4"), "is a file, not a folder")
    refused(generate(BALL, "-o", "a.avi"), "does not end in .mp4")
    monkeypatch.setattr(os, "access", lambda *_: False)
    refused(generate(BALL, "-o", "a.mp4"), "is not writable")
    assert files(tmp_path) == ["file"]


def test_an_existing_clip_is_kept_unless_told_otherwise(generate, tmp_path):
    (tmp_path / "a.mp4").write_text("precious")
    refused(generate(BALL, "-o", "a.mp4"), "a.mp4 exists")
    assert (tmp_path / "a.mp4").read_text() == "precious"
    assert generate(BALL, "-o", "a.mp4", "--overwrite")[0] == 0
    assert probe("a.mp4").seconds == 0.5


def test_a_full_disk(generate, tmp_path, disk_of):
    with disk_of(3000):
        result = generate(BALL, "-o", "a.mp4")
    refused(result, "no space left")
    assert files(tmp_path) == []


def test_damaged_weights_are_named(generate, tmp_path, tiny_model):
    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / "base.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    refused(generate(BALL, "--model", "model"), "base.safetensors is damaged: SHA-256")
    path.unlink()
    refused(generate(BALL, "--model", "model"), "base.safetensors is missing")


def test_clips_without_a_recipe_cannot_be_repeated(generate, tmp_path, moving_frames):
    sound = np.zeros((1, 12_000), np.float32)
    write_mp4("plain.mp4", moving_frames, sound, 24, 24_000, "holiday")
    write_mp4("odd.mp4", moving_frames, sound, 24, 24_000, json.dumps({"happyhorse": "0.1.0", "steps": "many"}))
    refused(generate("--like", "plain.mp4"), "holds no recipe")
    refused(generate("--like", "odd.mp4"), "steps is 'many'")
    refused(generate("--like", "missing.mp4"), "not found")


# -------------------------------------------------------------------------------------------------------------- Ctrl-C
@pytest.mark.parametrize(
    ("place", "name"),
    [
        (Pipeline, "generate_latents"),
        (Pipeline, "_velocity"),
        (VideoCodec, "decode"),
        (media, "_encode"),
        (media, "_audio_packets"),
    ],
)
def test_ctrl_c_at_any_stage_writes_nothing(generate, tmp_path, monkeypatch, place, name):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(place, name, interrupted)
    refused(generate(BALL, "-o", "a.mp4"), "stopped; nothing was written", code=130)
    assert files(tmp_path) == []


def test_ctrl_c_after_the_first_clip_says_so(generate, tmp_path, monkeypatch):
    made = []
    original = Pipeline.make

    def second_is_interrupted(self, *arguments):
        if made:
            raise KeyboardInterrupt
        made.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(Pipeline, "make", second_is_interrupted)
    code, out, err = generate(BALL, "--count", 3, "-o", "a.mp4")
    assert code == 130
    assert len(out.splitlines()) == 1
    assert "1 of 3 clips were written before" in err
    assert files(tmp_path) == ["a-1.mp4"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_real_signal_while_the_file_is_being_written(tiny_model, tmp_path, sent):
    script = f"""
import os, sys
from happyhorse.cli.main import main
from happyhorse.codecs import media
encode = media._video_packets
def interrupted(*arguments):
    for number, packet in enumerate(encode(*arguments)):
        if number == 5:
            os.kill(os.getpid(), {int(sent)})
        yield packet
media._video_packets = interrupted
sys.argv = ["happyhorse", "generate", "a ball", "--model", {str(tiny_model)!r}, "-o", "a.mp4"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert "stopped; nothing was written" in done.stderr
    assert "Traceback" not in done.stderr
    assert files(tmp_path) == []


# --------------------------------------------------------------------------------------------------------- small parts
def test_names_for_prompts_in_every_script():
    assert slug("你好, 世界!") == "你好-世界"
    assert slug("!!!") == "clip"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert len(slug("馬" * 100).encode()) <= 60


def test_prompts_with_the_same_name_do_not_collide():
    requests = [make_request(Sampling(), prompt, seed=1) for prompt in ("a ball", "A ball!", "a ball?")]
    assert [str(path) for path in output_paths(None, requests)] == ["a-ball-1.mp4", "a-ball-1-2.mp4", "a-ball-1-3.mp4"]


def test_guidance_as_one_number_or_two():
    assert parse_guidance("4") == 4.0
    assert parse_guidance("4,2.5") == (4.0, 2.5)
    assert parse_guidance(None) is None
    with pytest.raises(ConfigError):
        parse_guidance("4,x")
