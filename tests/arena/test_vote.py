import dataclasses
import math

import pytest

from happyhorse.arena.vote import VOTE_FIELDS, vote_of
from happyhorse.errors import ConfigError


def test_a_record_with_all_fields_is_a_vote(make_vote):
    assert vote_of(dataclasses.asdict(make_vote())) == make_vote()


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("board", "talk", "is no board"),
        ("category", "talk", "is no category"),
        ("choice", "both", "is no choice; choose one of left, right, tie, both-bad"),
        ("left", "theirs", "a match of theirs with itself"),
        ("right", "=cmd()", "cannot name a model"),
        ("match", "", "is no match"),
        ("voter", "=1+1", "is no voter"),
        ("voter", "v" * 129, "is no voter"),
        ("prompt", "red ball", "is no prompt"),
        ("left_clip", "../../etc/passwd", "is no left_clip"),
        ("chance", 1.5, "chance is '1.5'; it must be a number from 0 to 1"),
        ("time", math.nan, "time is 'nan'"),
        ("time", math.inf, "time is 'inf'"),
        ("seconds", -1.0, "seconds is '-1.0'"),
        ("seconds", True, "seconds is 'True'"),
        ("seconds", "12", "seconds is '12'"),
        ("played", False, "played is not true"),
        ("played", 1, "played is not true"),
    ],
)
def test_what_is_no_vote_is_refused(make_vote, field, value, words):
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        make_vote(**{field: value})


def test_fields_are_neither_missing_nor_unknown(make_vote):
    values = dataclasses.asdict(make_vote())
    for wrong in ({**values, "rating": 1}, {name: values[name] for name in VOTE_FIELDS[1:]}):
        with pytest.raises(ConfigError, match="a vote has the fields match, board"):
            vote_of(wrong)
