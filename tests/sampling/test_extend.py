"""Clips that go on: what was there stays, windows overlap, and the sound has no click where it changes hands."""

import json

import numpy as np
import pytest

from happyhorse.cli.main import run
from happyhorse.codecs.media import probe, read_mp4, write_mp4
from happyhorse.errors import MediaError, SizeError
from happyhorse.sampling.extend import FADE, check_length, extend, joined, load_start, overlap
from happyhorse.sampling.pipeline import Pipeline
from happyhorse.sampling.request import make_request
from happyhorse.types import ClipShape

BALL = "a red ball bounces on wood"


@pytest.fixture(scope="module")
def pipe(tiny_model):
    return Pipeline.from_pretrained(tiny_model)


@pytest.fixture
def clip(tmp_path):
    shades = np.linspace(20, 230, 12).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (12, 64, 64, 3)).copy()
    sound = 0.3 * np.sin(2 * np.pi * 440 * np.arange(12_000) / 24_000).astype(np.float32)
    write_mp4(tmp_path / "start.mp4", frames, sound[None], 24, 24_000)
    return tmp_path / "start.mp4"


def test_what_was_there_stays_and_the_rest_is_new(pipe, clip):
    start, fade = load_start(clip), round(FADE * 24_000)
    request = make_request(pipe.parts.sampling, BALL, seconds=0.5, size="64x64", seed=1, steps=1)
    found = extend(pipe, start, request, seconds=1.25)
    assert found.frames.shape == (30, 64, 64, 3) and found.audio.shape == (1, 30_000)
    assert np.array_equal(found.frames[:12], start.film.frames)
    assert np.array_equal(found.audio[0, : 12_000 - fade], start.sound.waveform[: 12_000 - fade])
    assert np.array_equal(found.frames[:20], extend(pipe, start, request, seconds=20 / 24).frames)
    assert found.recipe["seconds"] == 1.25 and found.recipe["extend"]["path"] == str(clip)


def test_each_window_has_a_seed_of_its_own(pipe, clip, monkeypatch):
    seeds, usual = [], pipe.generate_latents

    def generate_latents(request, given, watch):
        seeds.append(request.seed)
        return usual(request, given, watch)

    monkeypatch.setattr(pipe, "generate_latents", generate_latents)
    start = load_start(clip)
    extend(pipe, start, make_request(pipe.parts.sampling, BALL, seconds=0.5, size="64x64", seed=5, steps=1), 1.25)
    assert seeds == [5, 6, 7]


@pytest.mark.parametrize(("there", "kept"), [(1, 1), (4, 1), (5, 5), (12, 9), (56, 53), (57, 57), (500, 57)])
def test_windows_begin_with_whole_latents_up_to_half_of_them(there, kept):
    assert overlap(there, ClipShape(5, 128, 128)) == kept
    assert overlap(there, ClipShape(0.5, 64, 64)) == min(kept, 5)


def test_the_sound_changes_hands_without_a_jump():
    time = np.arange(24_000, dtype=np.float32) / 24_000
    old, again = np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 300 * time + 2.5)  # out of phase
    found = joined(old[:12_000], again[6_000:12_000], again[12_000:])
    assert len(found) == 24_000
    steps = np.abs(np.diff(found))
    assert np.abs(again[12_000] - old[11_999]) > 5 * steps.max(), "side by side they click"
    assert steps[11_000:12_010].max() <= 1.1 * np.abs(np.diff(old)).max()
    assert np.array_equal(found[12_000:], again[12_000:]) and np.array_equal(found[:11_040], old[:11_040])


def test_an_extended_clip_repeats_from_its_recipe(tiny_model, clip, tmp_path, capsys):
    common = ["--model", str(tiny_model)]
    first, again = tmp_path / "first.mp4", tmp_path / "again.mp4"
    asked = ["generate", BALL, "--extend", str(clip), "--seconds", "1", "--steps", "1", "--seed", "3", "-o", str(first)]
    assert run([*asked, *common]) == 0
    assert len(read_mp4(first).frames) == 24
    assert json.loads(probe(first).comment)["extend"]["path"] == str(clip)
    assert run(["generate", "--like", str(first), "-o", str(again), *common]) == 0
    assert first.read_bytes() == again.read_bytes()
    clip.unlink()
    assert run(["generate", "--like", str(first), "-o", str(tmp_path / "b.mp4"), *common]) == 2
    assert "give it by --extend" in capsys.readouterr().err


def test_a_clip_of_another_size_and_rate_is_converted_and_said(tiny_model, tmp_path, capsys):
    frames = np.zeros((15, 90, 120, 3), np.uint8)
    write_mp4(tmp_path / "start.mp4", frames, np.zeros((1, 12_000), np.float32), 30, 24_000)
    out = ["-o", str(tmp_path / "a.mp4"), "--model", str(tiny_model), "--steps", "1"]
    assert run(["generate", BALL, "--extend", str(tmp_path / "start.mp4"), "--seconds", "0.75", *out]) == 0
    said = capsys.readouterr().err
    assert "the clip has 30 frames a second; it goes on at 24" in said
    assert "the clip is 120x90; it is cropped and scaled to" in said


def test_lengths_and_files_that_cannot_be_extended_are_refused(tiny_model, clip, tmp_path, capsys):
    common = ["--model", str(tiny_model), "-o", str(tmp_path / "a.mp4"), "--extend", str(clip)]
    for seconds, reason in (("0.25", "0.50 s cannot be extended to 0.25 s"), ("99", "at most 60 s")):
        assert run(["generate", BALL, *common, "--seconds", seconds]) == 2
        assert reason in capsys.readouterr().err
    assert run(["generate", BALL, *common, "--audio", str(clip)]) == 2
    assert "--extend goes on from a clip alone" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()
    with pytest.raises(MediaError, match="not found"):
        load_start(tmp_path / "none.mp4")
    start = load_start(clip)
    with pytest.raises(SizeError):
        check_length(start, float("nan"))
