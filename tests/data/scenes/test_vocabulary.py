"""The vocabulary covers the world, stays within its table, and never moves a piece."""

from __future__ import annotations

import pytest

from happyhorse.codecs.text import FIRST_PIECE, Tokenizer, vocabulary
from happyhorse.data.scenes.sentences import LANGUAGES, sentence_words
from happyhorse.data.scenes.vocabulary import extend, pieces, prompts
from happyhorse.errors import ConfigError


def test_prompts_of_the_world_are_short_and_made_of_whole_words():
    tokenizer = Tokenizer.load()
    rows = [tokenizer.encode(prompt) for prompt in prompts(100)]
    assert max(map(len, rows)) <= 40
    assert all(token >= FIRST_PIECE for row in rows for token in row[1:])


def test_the_shipped_file_lacks_nothing_that_the_world_says():
    assert set(pieces()) <= set(vocabulary())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_has_one_token_for_each_word(language):
    tokenizer = Tokenizer.load()
    for text, parts in sentence_words(language).items():
        inside = tokenizer.encode(f'says "{text}"')[3:-1]
        assert [tokenizer.decode([token]) for token in inside] == [part.lower() for part in parts]


def test_new_pieces_are_appended_and_old_ones_keep_their_numbers():
    assert extend(["b", "a"], ["a", "c"]) == ["b", "a", "c"]
    with pytest.raises(ConfigError, match="2048 rows"):
        extend([], [str(number) for number in range(2000)])
