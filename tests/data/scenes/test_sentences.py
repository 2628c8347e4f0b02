"""The sentences: enough of them, held-out ones apart, every word met in training."""

from __future__ import annotations

import random

import pytest

from happyhorse.data.scenes.sentences import (
    LANGUAGES,
    SPOKEN,
    held_out_sentences,
    random_words,
    said_words,
    sentence_words,
    sentences,
    words,
    written,
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_twenty_words_and_sixteen_short_sentences(language):
    assert len(words(language)) >= 20
    assert len(set(sentences(language))) == 16
    assert all(1 <= len(parts) <= 4 for parts in sentence_words(language).values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_trained_though_three_sentences_are_not(language):
    held_out = held_out_sentences(language)
    trained = {word for text, parts in sentence_words(language).items() if text not in held_out for word in parts}
    assert len(held_out) == 3
    assert trained == set(words(language))


def test_chinese_and_japanese_are_written_without_spaces():
    assert sentence_words("Mandarin")["你好呀"] == ("你好", "呀")
    assert sentence_words("Korean")["안녕 친구"] == ("안녕", "친구")


@pytest.mark.parametrize("language", SPOKEN)
def test_readings_are_given_only_for_words_of_the_language(language):
    assert set(SPOKEN[language]) <= set(words(language))


@pytest.mark.parametrize("language", LANGUAGES)
def test_random_words_can_be_written_and_read_back_and_hold_no_held_out_sentence(language):
    rng = random.Random(0)
    rows = [random_words(language, 5, rng) for _ in range(3000)]
    assert {word for row in rows for word in row} == set(words(language))
    assert {len(row) for row in rows} == {1, 2, 3, 4, 5}
    assert all(said_words(language, written(language, row)) == row for row in rows)
    for secret in (sentence_words(language)[text] for text in held_out_sentences(language)):
        assert not any(row[at : at + len(secret)] == secret for row in rows for at in range(5))


def test_a_sentence_is_taken_apart_into_its_words():
    assert said_words("Mandarin", "小马喝水") == ("小", "马", "喝", "水")
    assert said_words("Mandarin", "你好你你好") == ("你好", "你", "你好"), "the longest word first"
    assert said_words("Korean", "안녕 안녕하세요") == ("안녕", "안녕하세요")
    assert said_words("English", "the cat sings") == said_words("English", "thecat") == said_words("English", "") == ()
