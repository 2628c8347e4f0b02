import csv
import json

import pytest

from happyhorse.arena.exports import read_votes, to_csv, to_jsonl, write_votes
from happyhorse.arena.vote import CHOICES, VOTE_FIELDS
from happyhorse.arena.votes import Votes
from happyhorse.errors import ConfigError, MediaError, OutputError


@pytest.fixture
def some(make_vote):
    return [
        make_vote(match=f"m{number}", choice=choice, time=1e9 + number / 3, chance=1 / (number + 3), seconds=number / 7)
        for number, choice in enumerate(CHOICES)
    ]


@pytest.mark.parametrize("name", ["votes.jsonl", "votes.csv"])
def test_votes_go_out_and_come_back(some, tmp_path, name):
    write_votes(tmp_path / name, some)
    assert read_votes(tmp_path / name) == some
    here = Votes(tmp_path / "votes.sqlite")
    here.merge(read_votes(tmp_path / name))
    write_votes(tmp_path / f"again-{name}", here.all())
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()


def test_the_files_are_what_other_programs_read(some):
    lines = list(csv.DictReader(to_csv(some)))
    assert tuple(lines[0]) == VOTE_FIELDS and lines[0]["played"] == "true" and float(lines[1]["chance"]) == 0.25
    assert [json.loads(line)["choice"] for line in to_jsonl(some)] == list(CHOICES)


def test_no_votes_are_a_file_too(tmp_path):
    write_votes(tmp_path / "none.csv", [])
    assert read_votes(tmp_path / "none.csv") == []
    write_votes(tmp_path / "none.jsonl", [])
    assert (tmp_path / "none.jsonl").read_bytes() == b""


def test_a_file_is_kept_unless_it_may_be_replaced(some, tmp_path):
    write_votes(tmp_path / "a.csv", some[:1])
    with pytest.raises(OutputError, match="exists"):
        write_votes(tmp_path / "a.csv", some)
    write_votes(tmp_path / "a.csv", some, overwrite=True)
    assert len(read_votes(tmp_path / "a.csv")) == 4


def test_other_endings_are_refused(some, tmp_path):
    with pytest.raises(ConfigError, match=r"votes\.txt ends neither in \.jsonl nor in \.csv"):
        write_votes(tmp_path / "votes.txt", some)


@pytest.mark.parametrize("damage", ["{", "[]", "null", "7", '{"match": "m1"}', "[" * 100_000, '{"played": NaN}'])
def test_damaged_lines_are_named(some, tmp_path, damage):
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(to_jsonl(some[:2])) + damage + "\n", "utf-8")
    with pytest.raises(MediaError, match=r"votes\.jsonl is no record of votes: after 2 votes, "):
        read_votes(path)


@pytest.mark.parametrize(
    "change", [("match,", ""), ("true", "yes"), (",0.25,", ",many,"), ("left,1", "1"), (",left,", ",up,")]
)
def test_damaged_tables_are_named(make_vote, tmp_path, change):
    path = tmp_path / "votes.csv"
    path.write_text("".join(to_csv([make_vote()])).replace(*change, 1), "utf-8")
    with pytest.raises(MediaError, match="after 0 votes, "):
        read_votes(path)
