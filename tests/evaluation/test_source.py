"""Clips as files: those of a folder, those that a model makes, and those that cannot be measured."""

import json

import numpy as np
import pytest

from happyhorse.clip import Clip
from happyhorse.codecs.media import write_mp4
from happyhorse.errors import ConfigError, MediaError
from happyhorse.evaluation.measure import make_cases
from happyhorse.evaluation.readings import Sample
from happyhorse.evaluation.source import FolderSource, ModelSource, Settings, read_sample, read_samples
from happyhorse.sampling.given import Given
from happyhorse.sampling.request import Sampling

SIZE = (64, 64)


def scene():
    levels = np.arange(48, dtype=np.uint8)[:, None, None, None]
    return Sample(np.broadcast_to(levels, (48, *SIZE, 3)).copy(), np.full(48_000, 0.5, np.float32))


def write(path, frames=48, fps=24, rate=24_000, channels=1):
    levels = np.linspace(0, 255, frames).astype(np.uint8)[:, None, None, None]
    time = np.arange(frames * rate // fps) / rate
    sound = np.tile(0.3 * np.sin(2 * np.pi * 440 * time), (channels, 1)).astype(np.float32)
    write_mp4(path, np.broadcast_to(levels, (frames, 16, 16, 3)).copy(), sound, fps, rate)
    return path


def test_a_clip_is_read_as_it_is_measured(tmp_path):
    sample = read_sample(write(tmp_path / "a.mp4", frames=60, rate=48_000, channels=2), 2.0)
    assert sample.frames.shape == (48, 16, 16, 3) and sample.waveform.shape == (48_000,)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 24_000)
    inside = slice(2000, 46_000)
    assert np.corrcoef(sample.waveform[inside], tone[inside])[0, 1] > 0.99


def test_clips_that_cannot_be_measured_say_why(tmp_path):
    (tmp_path / "damaged.mp4").write_bytes(write(tmp_path / "whole.mp4").read_bytes()[:300])
    paths = {
        "good": tmp_path / "whole.mp4",
        "slow": write(tmp_path / "slow.mp4", fps=12),
        "short": write(tmp_path / "short.mp4", frames=24),
        "damaged": tmp_path / "damaged.mp4",
        "missing": None,
    }
    samples, skipped = read_samples(paths, 2.0)
    assert set(samples) == {"good"}
    assert skipped["slow"] == "slow.mp4 has 12 frames a second; the suite is measured at 24"
    assert skipped["short"] == "short.mp4 lasts 1.00 s; the suite asks for 2 s"
    assert "damaged" in skipped["damaged"] and skipped["missing"] == "no such clip"


def test_a_folder_gives_clips_by_the_names_of_cases(tmp_path):
    cases = make_cases(1, 2.0, families=["ball"])
    path = write(tmp_path / "ball-00.mp4")
    source = FolderSource(tmp_path, cases)
    assert source.find(cases[0], "", scene) == path
    assert source.find(cases[0], "-image", scene) is None


def test_a_folder_without_the_suites_clips_is_refused(tmp_path):
    write(tmp_path / "other.mp4")
    with pytest.raises(MediaError, match=r"holds no clip of the suite; name them ball-00.mp4"):
        FolderSource(tmp_path, make_cases(1, 2.0, families=["ball"]))
    with pytest.raises(MediaError, match="does not exist"):
        FolderSource(tmp_path / "none", [])


class Counting:
    """Stands for a pipeline, and counts what it makes."""

    def __init__(self):
        self.made = []
        self.parts = type("Parts", (), {"sampling": Sampling(), "name": "counting", "fingerprint": "f00d"})()

    def make(self, request, given, on_progress):
        self.made.append((request.seed, given))
        recipe = {"happyhorse": "0", "weights": "f00d", **request.recipe(), **given.sources()}
        frames = np.zeros((request.shape.frames, *SIZE, 3), np.uint8)
        return Clip(frames, np.zeros((1, 48_000), np.float32), 24, 24_000, recipe, {"denoise": 0.5})


def test_a_model_makes_each_clip_once(tmp_path):
    case = make_cases(1, 2.0, families=["ball"])[0]
    pipeline = Counting()
    source = ModelSource(pipeline, tmp_path, SIZE)  # type: ignore[arg-type]
    for _ in range(2):
        paths = [source.find(case, take, scene) for take in case.takes()]
    assert [path.name for path in paths] == [f"ball-00{take}.mp4" for take in case.takes()]
    assert [seed for seed, _ in pipeline.made] == [case.seed_of(take) for take in case.takes()]
    given = {take: given for take, (_, given) in zip(case.takes(), pipeline.made, strict=True)}
    assert np.array_equal(given["-image"].image.pixels, scene().frames[0])
    assert np.array_equal(given["-last"].last_image.pixels, scene().frames[-1])
    assert np.array_equal(given["-film"].video.frames, scene().frames)
    assert np.array_equal(given["-sound"].audio.waveform, scene().waveform)
    assert given[""] == given["-seed-1"] == Given()
    assert source.timings() == {path.name: 0.5 for path in paths}


@pytest.mark.parametrize("change", ["steps", "weights", "damage"])
def test_a_clip_of_another_request_is_made_anew(tmp_path, change):
    case = make_cases(1, 2.0, images=0, families=["ball"])[0]
    pipeline = Counting()
    path = ModelSource(pipeline, tmp_path, SIZE).find(case, "", scene)  # type: ignore[arg-type]
    if change == "weights":
        pipeline.parts.fingerprint = "beef"
    if change == "damage":
        path.write_bytes(path.read_bytes()[:100])
    settings = Settings(steps=3) if change == "steps" else None
    ModelSource(pipeline, tmp_path, SIZE, settings).find(case, "", scene)  # type: ignore[arg-type]
    assert len(pipeline.made) == 2


def test_facts_say_how_the_model_was_asked(tmp_path):
    facts = ModelSource(Counting(), tmp_path, SIZE, Settings(steps=7, guidance=2.0)).facts  # type: ignore[arg-type]
    assert (facts["model"], facts["weights"], facts["steps"], facts["guidance"]) == ("counting", "f00d", 7, [2.0, 2.0])
    assert json.dumps(facts)
    with pytest.raises(ConfigError, match="steps"):
        ModelSource(Counting(), tmp_path, SIZE, Settings(steps=0)).facts  # type: ignore[arg-type]  # noqa: B018
