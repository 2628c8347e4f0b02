"""``happyhorse arena``: what it prints, from models to votes and back."""

import json

import numpy as np
import pytest

from happyhorse.arena.arena import Arena
from happyhorse.cli import arena as command
from happyhorse.cli.arena import AskedTable
from happyhorse.codecs.media import write_mp4
from happyhorse.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """An arena's folder, with two models beside it that were not added yet."""
    for shade, name in enumerate(("ours", "theirs")):
        (tmp_path / name).mkdir()
        rows = []
        for number, category in enumerate(("foley", "motion")):
            sound = 0.1 * np.sin(np.arange(24_000) / 10)[None].astype(np.float32)
            frames = np.full((12, 32, 32, 3), 60 * shade + 20 * number, np.uint8)
            write_mp4(tmp_path / name / f"{number}.mp4", frames, sound, 24, 48_000)
            row = {"file": f"{number}.mp4", "prompt": f"prompt {number}", "category": category}
            rows.append(json.dumps({**row, "board": "text-to-video"}))
        (tmp_path / name / "prompts.jsonl").write_text("\n".join(rows))
    return tmp_path / "arena"


@pytest.fixture
def voted(folder, capsys):
    """Both models, and four votes of which ours won three."""
    for name in ("ours", "theirs"):
        command.add_model(name, folder.parent / name, folder, None, False)
    arena = Arena(folder, np.random.default_rng(0))
    for number in range(4):
        match = arena.next_match(f"v{number // 2}", "text-to-video")
        (ours,) = (entry for entry in arena.entries.all() if entry.name == "ours")
        left = match.left_clip.stem in {clip.sha256 for clip in ours.clips}
        arena.vote(match.id, "left" if left == (number > 0) else "right", f"v{number // 2}", 3.0, True)
    capsys.readouterr()
    return folder


def test_models_are_added_listed_and_removed(folder, capsys):
    command.list_models(folder, False)
    assert "no models in" in capsys.readouterr().out and not folder.exists()
    command.add_model("ours", folder.parent / "ours", folder, None, False)
    command.add_model("theirs", folder.parent / "theirs", folder, None, False)
    assert capsys.readouterr().err.splitlines() == [
        "ours: 2 clips, 0 of them of prompts that other models share",
        "theirs: 2 clips, 2 of them of prompts that other models share",
    ]
    command.list_models(folder, False)
    assert "foley 1, motion 1" in capsys.readouterr().out
    command.list_models(folder, True)
    first, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["model"] == "ours" and first["boards"] == {"text-to-video": 2} and first["shared"] == 2
    command.remove_model("ours", folder)
    assert "ours is out, with 2 clips" in capsys.readouterr().err
    command.list_models(folder, True)
    assert json.loads(capsys.readouterr().out)["model"] == "theirs"


def test_ratings_are_a_table_with_rivals(voted, capsys):
    command.show_ratings(voted, AskedTable())
    out = capsys.readouterr().out
    assert "text-to-video" in out and "75.0 %" in out and "against each rival" in out
    command.show_ratings(voted, AskedTable(anchor="theirs", json=True))
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found["rows"]] == ["ours", "theirs"]
    assert found["rows"][0]["rating"] == pytest.approx(1000 + 400 * np.log10(3))
    assert found["rows"][1]["rating"] == pytest.approx(1000) and found["rivals"][0]["wins"] == 3


def test_what_cannot_be_rated_is_said(voted, capsys):
    command.show_ratings(voted, AskedTable(category="motion"))
    shown = capsys.readouterr()
    assert "one prompt only" in shown.out or "won every vote" in shown.out
    assert "note: " in shown.err
    command.show_ratings(voted, AskedTable(board="image-to-video"))
    assert "no models on board image-to-video" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="'talk' is no category"):
        command.show_ratings(voted, AskedTable(category="talk"))


@pytest.mark.parametrize("name", ["votes.csv", "votes.jsonl"])
def test_votes_go_out_and_come_back(voted, capsys, name):
    command.export_votes(voted, None, False)
    lines = capsys.readouterr().out
    assert [json.loads(line)["voter"] for line in lines.splitlines()] == ["v0", "v0", "v1", "v1"]
    command.export_votes(voted, voted.parent / name, False)
    command.import_votes(voted.parent / name, voted.parent / "other")
    command.import_votes(voted.parent / name, voted)
    assert capsys.readouterr().err.splitlines() == [
        f"4 votes written to {voted.parent / name}",
        "4 votes added, 0 were there already",
        "0 votes added, 4 were there already",
    ]
    command.export_votes(voted.parent / "other", None, False)
    assert capsys.readouterr().out == lines
