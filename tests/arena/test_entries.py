"""Models come in whole or not at all, and leave with what is theirs alone."""

import hashlib
import json
import sys

import numpy as np
import pytest

from happyhorse.arena import entries as room
from happyhorse.arena.entries import Entries
from happyhorse.codecs.images import write_png
from happyhorse.errors import ConfigError, MediaError, MissingToolError, OutputError

PROMPTS = [("a red ball bounces", "foley"), ("rain on a street", "ambience")]


@pytest.fixture
def arena(tmp_path):
    return Entries(tmp_path / "arena")


def files(arena):
    return sorted(str(path.relative_to(arena.folder)) for path in arena.folder.rglob("*") if path.is_file())


def test_a_model_comes_in(arena, write_model, tmp_path):
    source = write_model(tmp_path / "ours", PROMPTS)
    assert arena.all() == []
    told = []
    entry = arena.add("ours", source, on_clip=lambda *counts: told.append(counts))
    assert arena.all() == Entries(arena.folder).all() == [entry] and told == [(1, 2), (2, 2)]
    for number, clip in enumerate(entry.clips):
        data = (source / f"{number}.mp4").read_bytes()
        assert arena.clip_path(clip).read_bytes() == data and clip.sha256 == hashlib.sha256(data).hexdigest()
        assert (clip.text, clip.category, clip.board) == (*PROMPTS[number], "text-to-video")
        assert clip.seconds == 0.5 and clip.lufs is not None and arena.image_path(clip) is None
    assert entry.clips[0].prompt != entry.clips[1].prompt
    kept = [f"{folder}/{clip.file}" for clip in entry.clips for folder in ("clips", "shown")]
    assert files(arena) == sorted(["entries/ours.json", *kept])


def test_the_same_prompt_is_the_same_for_all(arena, write_model, tmp_path):
    ours = arena.add("ours", write_model(tmp_path / "a", PROMPTS))
    theirs = arena.add("theirs", write_model(tmp_path / "b", [(" rain  on a street", "ambience")], seed=5))
    assert theirs.clips[0].prompt == ours.clips[1].prompt
    folder = write_model(tmp_path / "c", [("rain on a street", "foley")], seed=7)
    with pytest.raises(ConfigError, match=r"0\.mp4 has category foley here and ambience with theirs; give it the same"):
        arena.add("third", folder)


def test_an_image_belongs_to_the_prompt(arena, write_clip, tmp_path):
    def bring(name, shade, file="start.png"):
        folder = tmp_path / name
        folder.mkdir()
        write_clip(folder / "0.mp4", shade)
        write_png(folder / file, np.full((8, 8, 3), shade, np.uint8))
        row = {"file": "0.mp4", "prompt": "it rains", "category": "ambience", "board": "image-to-video", "image": file}
        (folder / "prompts.jsonl").write_text(json.dumps(row))
        return arena.add(name, folder).clips[0]

    first, same, other = bring("a", 1), bring("b", 1, "x.PNG"), bring("c", 2)
    assert first.prompt == same.prompt != other.prompt
    assert first.image == same.image == hashlib.sha256((tmp_path / "a/start.png").read_bytes()).hexdigest() + ".png"
    assert arena.image_path(first).read_bytes() == (tmp_path / "a/start.png").read_bytes()
    (tmp_path / "a" / "start.png").write_bytes(b"nonsense")
    with pytest.raises(MediaError, match=r"start\.png is not a readable image"):
        arena.add("d", tmp_path / "a")


def test_adding_twice_replaces_nothing_unless_asked(arena, write_model, tmp_path):
    first = arena.add("ours", write_model(tmp_path / "a", PROMPTS))
    other = write_model(tmp_path / "b", PROMPTS[:1], seed=5)
    with pytest.raises(OutputError, match="ours is in the arena already; choose another name, or replace it"):
        arena.add("ours", other)
    assert arena.all() == [first]
    second = arena.add("ours", other, overwrite=True)
    assert arena.all() == [second]
    file = second.clips[0].file
    assert files(arena) == sorted(["entries/ours.json", f"clips/{file}", f"shown/{file}"])


def test_a_model_leaves_with_the_clips_that_are_its_alone(arena, write_model, tmp_path):
    folder = write_model(tmp_path / "a", PROMPTS)
    ours = arena.add("ours", folder)
    arena.add("twin", folder)
    assert arena.remove("ours") == ours
    assert len(files(arena)) == 5 and [entry.name for entry in arena.all()] == ["twin"]
    arena.remove("twin")
    assert files(arena) == []
    with pytest.raises(ConfigError, match="'ours' is not in the arena; its models are none"):
        arena.remove("ours")


def test_one_bad_clip_keeps_all_out(arena, write_model, tmp_path):
    folder = write_model(tmp_path / "a", PROMPTS)
    (folder / "1.mp4").write_bytes(b"nonsense" * 100)
    with pytest.raises(MediaError, match=r"1\.mp4 is damaged"):
        arena.add("ours", folder)
    assert arena.all() == [] and not arena.folder.exists()


def test_one_clip_for_each_prompt(arena, write_model, tmp_path):
    folder = write_model(tmp_path / "a", [PROMPTS[0], PROMPTS[0]])
    with pytest.raises(ConfigError, match=r"0\.mp4 and .*1\.mp4 have the same prompt; give one clip for each"):
        arena.add("ours", folder)


def test_a_stop_or_a_full_disk_leaves_what_was_there(arena, write_model, tmp_path, disk_of, monkeypatch):
    first = arena.add("ours", write_model(tmp_path / "a", PROMPTS))
    there = files(arena)
    other = write_model(tmp_path / "b", [*PROMPTS, ("a third", "motion")], seed=7)
    with disk_of(1000), pytest.raises(OutputError, match="no space left"):
        arena.add("ours", other, overwrite=True)
    assert files(arena) == there and arena.all() == [first]

    copy, copied = room._copy, []

    def stopped(source, target):
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(copy(source, target))

    monkeypatch.setattr(room, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        arena.add("ours", other, overwrite=True)
    assert files(arena) == there and arena.all() == [first]


def test_a_clip_that_changes_while_it_is_read_is_refused(arena, write_model, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "a", PROMPTS[:1])
    copy = room._copy

    def changed(source, target):
        source.write_bytes(source.read_bytes() + b"more")
        copy(source, target)

    monkeypatch.setattr(room, "_copy", changed)
    with pytest.raises(MediaError, match=r"0\.mp4 changed while it was read"):
        arena.add("ours", folder)
    assert files(arena) == []


def test_names_and_meters_come_first(arena, write_model, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "a", PROMPTS[:1])
    with pytest.raises(ConfigError, match="cannot name a model"):
        arena.add("../ours", folder)
    monkeypatch.setitem(sys.modules, "pyloudnorm", None)
    with pytest.raises(MissingToolError, match="pyloudnorm"):
        arena.add("ours", folder)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"name": "ours"}', '{"name": "ours", "added": 1, "clips": [{}]}'])
def test_a_damaged_file_is_named(arena, write_model, tmp_path, damage):
    arena.add("ours", write_model(tmp_path / "a", PROMPTS[:1]))
    (arena.folder / "entries" / "ours.json").write_text(damage)
    with pytest.raises(MediaError, match=r"ours\.json is damaged .*; delete it and add the model again"):
        arena.all()


def test_files_are_read_again_only_when_they_change(arena, write_model, tmp_path):
    arena.add("ours", write_model(tmp_path / "a", PROMPTS[:1]))
    assert arena.all()[0] is arena.all()[0]
    before = arena.all()[0]
    Entries(arena.folder).add("ours", write_model(tmp_path / "b", PROMPTS), overwrite=True)
    assert len(arena.all()[0].clips) == 2 and arena.all()[0] != before
