"""The sentences: enough of them, held-out ones apart, every word met in training."""

from __future__ import annotations

import pytest

from happyhorse.data.scenes.sentences import LANGUAGES, SPOKEN, held_out_sentences, sentence_words, sentences, words


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
