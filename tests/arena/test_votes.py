"""Votes stay: through threads, processes that are killed, and attempts to change them."""

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from happyhorse.arena.counts import Tally
from happyhorse.arena.vote import PAIRING_FIELDS, Pairing
from happyhorse.arena.votes import OPEN_SECONDS, UnknownMatchError, VoteError, Votes
from happyhorse.errors import ConfigError, MediaError, OutputError


@pytest.fixture
def votes(tmp_path):
    return Votes(tmp_path / "arena" / "votes.sqlite")


@pytest.fixture
def pairing(make_vote):
    def make(**changes):
        return Pairing(**{name: getattr(make_vote(**changes), name) for name in PAIRING_FIELDS})

    return make


def test_a_match_is_opened_voted_on_and_remembered(votes, pairing, make_vote):
    assert votes.all() == [] and not votes.path.exists()  # to look makes nothing
    votes.open_match(pairing(), 100.0)
    assert votes.find("m1", "v1") == pairing() and votes.find("m1", "v2") is None and votes.last() == 0
    vote = votes.add("m1", "v1", "tie", 12.25, True, 130.0)
    assert vote == make_vote(choice="tie", time=130.0)
    assert votes.all() == [vote] and votes.find("m1", "v1") == vote and votes.last() == 1


def test_votes_that_do_not_count(votes, pairing):
    votes.open_match(pairing(), 100.0)
    with pytest.raises(VoteError, match="both clips have to be played once"):
        votes.add("m1", "v1", "left", 3.0, False, 110.0)
    with pytest.raises(ConfigError, match="'first' is no choice"):
        votes.add("m1", "v1", "first", 3.0, True, 110.0)
    with pytest.raises(UnknownMatchError, match="no open match 'm1' for this voter"):
        votes.add("m1", "v2", "left", 3.0, True, 110.0)
    with pytest.raises(UnknownMatchError):
        votes.add("m2", "v1", "left", 3.0, True, 110.0)
    assert votes.all() == []
    votes.add("m1", "v1", "left", 3.0, True, 110.0)
    with pytest.raises(VoteError, match="this match has had your vote"):
        votes.add("m1", "v1", "right", 3.0, True, 111.0)
    assert [vote.choice for vote in votes.all()] == ["left"]


def test_matches_that_nobody_votes_on_are_forgotten(votes, pairing):
    votes.open_match(pairing(), 0.0)
    votes.open_match(pairing(match="m2"), OPEN_SECONDS)
    assert votes.find("m1", "v1")
    votes.open_match(pairing(match="m3"), OPEN_SECONDS + 1)
    assert votes.find("m1", "v1") is None and votes.find("m2", "v1")


def test_votes_are_never_changed(votes, make_vote):
    votes.merge([make_vote()])
    connection = sqlite3.connect(votes.path)
    for statement in ("UPDATE votes SET choice = 'right'", "DELETE FROM votes"):
        with pytest.raises(sqlite3.IntegrityError, match="votes are added, never"):
            connection.execute(statement)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert votes.all() == [make_vote()]


def test_exported_votes_are_added_once_all_or_none(votes, make_vote):
    first, second = make_vote(), make_vote(match="m2", choice="both-bad")
    assert votes.merge([first, second]) == 2
    assert votes.merge([second, first, make_vote(match="m3")]) == 1
    with pytest.raises(VoteError, match="match m2 has another vote of voter v1; nothing was added"):
        votes.merge([make_vote(match="m4"), dataclasses.replace(second, choice="tie")])
    assert [vote.match for vote in votes.all()] == ["m1", "m2", "m3"]


def test_only_votes_on_clips_that_are_there_are_counted(votes, make_vote):
    prompt = "0" * 16
    votes.merge([make_vote(match=f"m{number}", choice=choice) for number, choice in enumerate(["left", "tie", "left"])])
    votes.merge([make_vote(match="old", left_clip="c" * 64), make_vote(match="board", board="image-to-video")])
    clips = {("ours", prompt): "a" * 64, ("theirs", prompt): "b" * 64}
    found = votes.tallies("text-to-video", clips)
    assert sorted(found) == [Tally(prompt, "ours", "theirs", "left", 2), Tally(prompt, "ours", "theirs", "tie", 1)]
    assert votes.tallies("text-to-video", {}) == []


def test_what_a_voter_has_seen(votes, make_vote):
    votes.merge([make_vote(), make_vote(match="m2", left="theirs", right="ours"), make_vote(match="m3", voter="v2")])
    assert votes.seen("v1", "text-to-video") == {("0" * 16, "ours", "theirs"): 2}
    assert votes.seen("v1", "image-to-video") == {}


def test_many_threads_vote_at_once(votes, pairing):
    def one(number):
        votes.open_match(pairing(match=f"m{number}", voter=f"v{number % 3}"), 100.0)
        return votes.add(f"m{number}", f"v{number % 3}", "left", 1.0, True, 101.0)

    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(one, range(40)))
    assert sorted(vote.match for vote in votes.all()) == sorted(vote.match for vote in added)


def test_two_votes_on_one_match_at_once_are_one(votes, pairing):
    votes.open_match(pairing(), 100.0)

    def one(choice):
        try:
            return votes.add("m1", "v1", choice, 1.0, True, 101.0)
        except VoteError:
            return None

    with ThreadPoolExecutor(4) as pool:
        added = [vote for vote in pool.map(one, ["left", "right", "tie", "both-bad"]) if vote]
    assert len(added) == 1 and votes.all() == added


def test_what_was_said_to_be_voted_survives_a_kill(votes, make_vote):
    votes.merge([make_vote()])
    program = f"""
import dataclasses, sys
from pathlib import Path
from happyhorse.arena.votes import Votes
votes = Votes(Path({str(votes.path)!r}))
first = votes.all()[0]
for number in range(10_000):
    votes.merge([dataclasses.replace(first, match=f"n{{number}}")])
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        said = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    said = max([said, *map(int, process.stdout.read().split())])
    process.wait()
    found = [vote.match for vote in votes.all()]
    assert found[: said + 2] == ["m1", *(f"n{number}" for number in range(said + 1))] and len(found) <= said + 3


def test_files_that_are_no_record_are_named(votes, make_vote):
    votes.path.parent.mkdir()
    votes.path.write_bytes(b"not a database at all, but long enough to be one" * 20)
    with pytest.raises(MediaError, match=r"votes\.sqlite is no record of votes \(file is not a database\)"):
        votes.all()
    votes.path.unlink()
    connection = sqlite3.connect(votes.path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(MediaError, match="was written by a newer happyhorse"):
        votes.merge([make_vote()])


def test_a_place_that_cannot_be_written_is_named(tmp_path, make_vote):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Votes(tmp_path / "file" / "votes.sqlite").merge([make_vote()])
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(OutputError, match=r"folder\.sqlite cannot be used: unable to open"):
        Votes(tmp_path / "folder.sqlite").merge([make_vote()])


def test_a_full_disk_adds_nothing(votes, make_vote, disk_of):
    votes.merge([make_vote()])
    size = votes.path.stat().st_size
    many = [make_vote(match=f"m{number}") for number in range(2, 2000)]
    with disk_of(size), pytest.raises(OutputError, match="cannot be used"):
        votes.merge(many)
    assert votes.all() == [make_vote()] and votes.merge(many) == len(many)
