"""From a match that shows no names, over the vote, to the table."""

import dataclasses
import json

import numpy as np
import pytest

from happyhorse.arena.arena import Arena, Names, arena_folder
from happyhorse.arena.votes import UnknownMatchError, VoteError
from happyhorse.codecs.images import write_png
from happyhorse.errors import ConfigError, MediaError

BOARD = "text-to-video"
PROMPTS = [("a red ball bounces", "foley"), ("rain on a street", "ambience"), ("a horse trots", "motion")]
STRENGTH = {"good": 1.5, "fair": 0.0, "poor": -1.0}


@pytest.fixture
def arena(tmp_path, write_model):
    """Three models of different loudness, two of which have all three prompts."""
    found = Arena(tmp_path / "arena", np.random.default_rng(0), clock=lambda: 1000.0)
    for seed, (name, level, prompts) in enumerate((("good", 0.5, 3), ("fair", 0.05, 3), ("poor", 0.1, 2))):
        found.entries.add(name, write_model(tmp_path / name, PROMPTS[:prompts], 4 * seed, level))
    return found


def model_of(arena, path):
    return next(e.name for e in arena.entries.all() for c in e.clips if arena.entries.shown_path(c) == path)


def test_a_match_shows_two_clips_of_one_prompt_equally_loud_and_no_names(arena):
    match = arena.next_match("v1", BOARD, "foley")
    assert (match.board, match.category, match.prompt, match.image) == (BOARD, "foley", "a red ball bounces", None)
    models = {model_of(arena, path) for path in (match.left_clip, match.right_clip)}
    assert len(models) == 2
    told = " ".join(map(str, dataclasses.astuple(match))).replace(str(arena.folder), "")
    assert not any(name in told for name in STRENGTH)
    facts = {c.sha256: c for e in arena.entries.all() for c in e.clips}
    heard = [
        facts[path.stem].lufs + 20 * np.log10(factor)
        for path, factor in ((match.left_clip, match.left_gain), (match.right_clip, match.right_gain))
    ]
    assert heard == pytest.approx([-23, -23])


def test_names_come_after_the_vote(arena):
    match = arena.next_match("v1", BOARD)
    with pytest.raises(VoteError, match="names are told after the vote"):
        arena.names(match.id, "v1")
    with pytest.raises(VoteError, match="have to be played"):
        arena.vote(match.id, "left", "v1", seconds=1.0, played=False)
    names = arena.vote(match.id, "left", "v1", seconds=1.0, played=True)
    assert names == Names(model_of(arena, match.left_clip), model_of(arena, match.right_clip))
    assert arena.names(match.id, "v1") == names
    with pytest.raises(VoteError, match="has had your vote"):
        arena.vote(match.id, "right", "v1", seconds=1.0, played=True)
    (vote,) = arena.votes.all()
    assert (vote.time, vote.choice, vote.category, vote.voter) == (1000.0, "left", match.category, "v1")
    assert 0 < vote.chance <= 1 and vote.left_clip == match.left_clip.stem


def test_a_match_is_its_voters_alone_and_can_be_shown_again(arena):
    match = arena.next_match("v1", BOARD)
    assert arena.match(match.id, "v1") == match
    for ask in (arena.match, arena.names):
        with pytest.raises(UnknownMatchError, match="of this voter"):
            ask(match.id, "v2")
    with pytest.raises(UnknownMatchError):
        arena.vote(match.id, "left", "v2", 1.0, True)


def test_a_voter_sees_everything_once_before_anything_twice(arena):
    seen = []
    for _ in range(7):  # two prompts of three pairs and one of one
        match = arena.next_match("v1", BOARD)
        names = arena.vote(match.id, "tie", "v1", 1.0, True)
        seen.append((match.prompt, *sorted((names.left, names.right))))
    assert len(set(seen)) == 7
    assert arena.next_match("v1", BOARD).id != arena.next_match("v1", BOARD).id


def test_votes_of_simulated_voters_order_the_models(arena):
    random = np.random.default_rng(1)
    for number in range(80):
        match = arena.next_match(f"v{number % 12}", BOARD)
        left, right = (STRENGTH[model_of(arena, path)] for path in (match.left_clip, match.right_clip))
        choice = "left" if random.random() < 1 / (1 + np.exp(right - left)) else "right"
        arena.vote(match.id, choice, f"v{number % 12}", 1.0, True)
    table = arena.table(BOARD, draws=200)
    assert [row.model for row in table.rows] == ["good", "fair", "poor"] and table.warnings == ()
    assert sum(row.record.votes for row in table.rows) == 160
    votes = [sum(arena.table(BOARD, category, draws=20).rows[0].record.votes for category in ("foley", "ambience"))]
    assert votes[0] < table.rows[0].record.votes
    assert arena.table(BOARD, "abstract").rows == () and arena.table("image-to-video").rows == ()
    with pytest.raises(ConfigError, match="'talk' is no board"):
        arena.table("talk")


def test_a_table_is_kept_until_a_vote_or_a_model_comes(arena):
    before = arena.table(BOARD)
    assert arena.table(BOARD) is before and arena.table(BOARD, "foley") is not before
    match = arena.next_match("v1", BOARD)
    assert arena.table(BOARD) is before
    arena.vote(match.id, "tie", "v1", 1.0, True)
    after = arena.table(BOARD)
    assert after is not before and after.warnings
    arena.entries.remove("poor")
    assert arena.table(BOARD) is not after


def test_votes_count_while_their_clips_are_there(arena, tmp_path, write_model):
    for _ in range(7):
        match = arena.next_match("v1", BOARD)
        arena.vote(match.id, "left", "v1", 1.0, True)
    everything = arena.table(BOARD).to_dict()
    arena.entries.remove("good")
    assert [row.record.votes for row in arena.table(BOARD).rows] == [2, 2]
    assert len(arena.votes.all()) == 7
    arena.entries.add("good", tmp_path / "good")
    assert arena.table(BOARD).to_dict() == everything
    arena.entries.add("good", write_model(tmp_path / "new", PROMPTS, 3), overwrite=True)
    assert {row.model: row.record.votes for row in arena.table(BOARD).rows} == {"fair": 2, "good": 0, "poor": 2}


def test_a_match_whose_clip_left_is_not_shown_again(arena):
    match = arena.next_match("v1", BOARD, "motion")
    arena.entries.remove("good")
    with pytest.raises(UnknownMatchError, match="a clip of match .* has left the arena"):
        arena.match(match.id, "v1")
    with pytest.raises(
        ConfigError, match="no two models have clips of the same prompt on board text-to-video, category"
    ):
        arena.next_match("v1", BOARD, "motion")


def test_a_missing_clip_is_named(arena):
    for entry in arena.entries.all():
        for clip in entry.clips:
            arena.entries.clip_path(clip).unlink()
    with pytest.raises(MediaError, match=r"\.mp4 is missing; add its model again"):
        arena.next_match("v1", BOARD)


def test_the_image_of_a_prompt_is_shown(tmp_path, write_clip):
    arena = Arena(tmp_path / "arena")
    for shade, name in enumerate(("a", "b")):
        folder = tmp_path / name
        folder.mkdir()
        write_clip(folder / "0.mp4", shade)
        write_png(folder / "start.png", np.zeros((8, 8, 3), np.uint8))
        row = {"file": "0.mp4", "prompt": "it rains", "category": "ambience", "board": "image-to-video"}
        (folder / "prompts.jsonl").write_text(json.dumps({**row, "image": "start.png"}))
        arena.entries.add(name, folder)
    match = arena.next_match("v1", "image-to-video")
    assert match.image.read_bytes() == (folder / "start.png").read_bytes()
    with pytest.raises(ConfigError, match="on board text-to-video;"):
        arena.next_match("v1", BOARD)


def test_voters_are_opaque_ids(arena):
    with pytest.raises(ConfigError, match="is no voter"):
        arena.next_match("a name with spaces", BOARD)


def test_an_empty_arena_is_no_trouble(tmp_path):
    arena = Arena(tmp_path / "none")
    assert arena.table(BOARD).rows == () and not arena.folder.exists()
    with pytest.raises(ConfigError, match="happyhorse arena add"):
        arena.next_match("v1", BOARD)


def test_shared_prompts_are_counted(arena):
    assert {entry.name: arena.shared(entry) for entry in arena.entries.all()} == {"good": 3, "fair": 3, "poor": 2}


def test_where_the_arena_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HAPPYHORSE_ARENA", str(tmp_path / "env"))
    assert arena_folder(tmp_path) == tmp_path and arena_folder() == tmp_path / "env"
    monkeypatch.delenv("HAPPYHORSE_ARENA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert arena_folder() == tmp_path / "happyhorse" / "arena"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(arena_folder()) == "/home/somebody/.local/share/happyhorse/arena"
