"""Errors of transcripts against counts made by hand."""

from __future__ import annotations

import pytest

from happyhorse.evaluation.transcripts import Errors, character_errors, normalise, word_errors


@pytest.mark.parametrize(
    ("reference", "heard", "wrong"),
    [
        ("the red ball", "the red ball", 0),
        ("the red ball", "The RED ball!", 0),
        ("the red ball", "the bed ball", 1),
        ("the red ball", "red", 2),
        ("the red ball", "the the red ball ball", 2),
        ("the red ball", "", 3),
    ],
)
def test_words_changed_dropped_and_added_are_counted(reference: str, heard: str, wrong: int):
    assert word_errors(reference, heard) == Errors(wrong, 3)


def test_characters_are_counted_without_spaces():
    assert character_errors("我 爱 你", "我爱你") == Errors(0, 3)
    assert character_errors("我爱你", "我爱") == Errors(1, 3)
    assert character_errors("안녕 친구", "안녕 친구들") == Errors(1, 4)


def test_more_errors_than_units_are_possible():
    assert word_errors("hello", "oh hello my old friend") == Errors(4, 1)


def test_width_case_and_marks_do_not_count():
    assert normalise("  Ｈｅｌｌｏ,  WORLD… ") == "hello world"
    assert normalise("c’est l'été, «oui»") == "c'est l'été oui"
    assert normalise("'quoted' words") == "quoted words"
    assert normalise("groß") == normalise("GROSS")
