"""The library: what is kept of a clip comes back, and damage or a full disk leaves nothing half done."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from happyhorse.errors import MediaError, OutputError
from happyhorse.library import Library, clip_id, library_folder
from happyhorse.sampling.pipeline import Pipeline


@pytest.fixture(scope="module")
def clip(tiny_model):
    return Pipeline.from_pretrained(tiny_model)("a red ball bounces on wood", seed=4, size=(64, 64))


def test_what_is_kept_comes_back(clip, tmp_path, library):
    entry = Library().keep(clip, tmp_path / "ball.mp4")
    assert entry is not None and entry.folder.parent == library
    found = Library().find(json.loads(json.dumps(dict(clip.recipe))))
    assert found == entry and found.path == tmp_path / "ball.mp4" and found.thumbnail.is_file()
    latents = found.latents()
    torch.testing.assert_close(latents.video, clip.latents.video, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(latents.audio, clip.latents.audio, atol=2e-3, rtol=2e-3)


def test_a_clip_is_named_by_its_recipe(clip):
    assert clip_id(clip.recipe) == clip_id({**clip.recipe, "render": {"size": "256x256"}})
    assert clip_id(clip.recipe) != clip_id({**clip.recipe, "seed": 5})


def test_the_newest_is_first_and_a_clip_made_again_is_there_once(clip, tmp_path):
    other = dataclasses.replace(clip, recipe={**clip.recipe, "seed": 5})
    for one, path in ((clip, "a.mp4"), (other, "b.mp4"), (clip, "c.mp4")):
        Library().keep(one, tmp_path / path)
    assert [entry.path.name for entry in Library().entries()] == ["c.mp4", "b.mp4"]


def test_a_clip_without_latents_is_not_kept(clip, tmp_path, library):
    assert Library().keep(dataclasses.replace(clip, latents=None), tmp_path / "long.mp4") is None
    assert not library.exists() and Library().entries() == []


def test_a_full_disk_leaves_nothing(clip, tmp_path, library, disk_of):
    with disk_of(2000), pytest.raises(OutputError, match="no space left"):
        Library().keep(clip, tmp_path / "ball.mp4")
    assert list(library.iterdir()) == []


def test_damage_is_named_or_passed_over(clip, tmp_path):
    entry = Library().keep(clip, tmp_path / "ball.mp4")
    (entry.folder / "latents.safetensors").write_bytes(b"nonsense")
    with pytest.raises(MediaError, match=r"latents\.safetensors is damaged"):
        Library().find(clip.recipe).latents()
    (entry.folder / "entry.json").write_text("nonsense")
    assert Library().find(clip.recipe) is None and Library().entries() == []


def test_where_clips_are_kept(monkeypatch, tmp_path, library):
    assert library_folder(tmp_path) == tmp_path
    assert library_folder() == library
    monkeypatch.delenv("HAPPYHORSE_LIBRARY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert library_folder() == tmp_path / "happyhorse"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert library_folder() == Path("/home/somebody/.local/share/happyhorse")
