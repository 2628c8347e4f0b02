"""The tokenizer: nothing is lost, known words are one token, prompts are short."""

from __future__ import annotations

import random
import sys

import pytest

from happyhorse.codecs.text import BOS, FIRST_PIECE, PAD, TEXT_LIMIT, Tokenizer, normalise, vocabulary
from happyhorse.errors import PromptError

PROMPTS = [
    "a red ball bounces on wood",
    'a woman with red hair in front of a blue wall says "bonjour les amis" in French',
    'portrait of a dark-skinned man, speaking Korean: "안녕하세요"',
    "「你好呀」, she says",
    '“ありがとう友達”, says a man. "早晨朋友"!',
    "👩‍🚀 émoji, Ünïcödé, ÇA va? ½ ﬁ ℌ İstanbul ß",
    'quotes: " a" "b " "" "c"d" "你"x"',
    '"',
    ' "',
    "a\tb\n\nc  \x02 d\x00",
    "\ud800 alone",
    "Здравствуй мир नमस्ते שלום مرحبا",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_decoding_gives_back_the_normalised_prompt(prompt):
    tokenizer = Tokenizer.load()
    assert tokenizer.decode(tokenizer.encode(prompt)) == normalise(prompt)


def test_any_unicode_comes_back():
    rng, tokenizer = random.Random(0), Tokenizer.load()
    for _ in range(300):
        text = "".join(
            rng.choice([chr(rng.randrange(sys.maxunicode)), rng.choice(' "ab你が'), " ball"]) for _ in range(20)
        )
        assert tokenizer.decode(tokenizer.encode(text)) == normalise(text)


def test_normal_form_folds_case_width_quotes_and_spaces():
    assert normalise("  A RED\u3000Ball \n“Hallo”\x07 ") == 'a red ball "hallo"'
    assert normalise("ｂａｌｌ") == "ball"


def test_a_word_is_the_same_token_wherever_it_stands():
    tokenizer = Tokenizer.load()
    alone, quoted, within = (tokenizer.encode(text) for text in ("hello", 'says "hello"', "big hello there"))
    assert len(alone) == 2
    assert alone[1] in quoted and alone[1] in within


@pytest.mark.parametrize(
    ("sentence", "count"),
    [("你好呀", 2), ("花が好きです", 4), ("안녕 친구", 2), ("der hund schläft", 3), ("bonjour les amis", 3)],
)
def test_bank_words_are_single_tokens(sentence, count):
    assert len(Tokenizer.load().encode(f'says "{sentence}"')) == 1 + 1 + 1 + count + 1


def test_unknown_words_fall_to_pieces_and_then_to_bytes():
    tokenizer = Tokenizer(["a", " ball", "ba"])
    assert tokenizer.encode("ball bab") == [BOS, FIRST_PIECE + 1, 3 + ord(" "), FIRST_PIECE + 2, 3 + ord("b")]
    assert tokenizer.encode("é")[1:] == [3 + byte for byte in " é".encode()]


def test_the_empty_prompt_is_the_opening_token_alone():
    tokenizer = Tokenizer.load()
    assert tokenizer.encode("") == tokenizer.encode("  \n") == [BOS]
    assert tokenizer.decode([BOS]) == ""


def test_too_long_a_prompt_is_refused_with_limit_and_length():
    tokenizer = Tokenizer.load()
    assert len(tokenizer.encode("ball " * (TEXT_LIMIT - 1))) == TEXT_LIMIT
    with pytest.raises(PromptError, match="has 129 tokens and the limit is 128"):
        tokenizer.encode("ball " * TEXT_LIMIT)


def test_a_batch_is_padded_on_the_right():
    text = Tokenizer.load().batch(["a red ball", "", "a ball bounces on wood"])
    assert text.lengths.tolist() == [4, 1, 6]
    assert text.values.shape == (3, 6)
    assert text.values[1].tolist() == [BOS] + [PAD] * 5


def test_ids_fit_the_foals_embedding_table_and_pieces_are_unique():
    pieces = vocabulary()
    assert len(set(pieces)) == len(pieces)
    assert Tokenizer.load().vocab_size == FIRST_PIECE + len(pieces) <= 2048


def test_half_a_character_decodes_to_a_replacement():
    assert Tokenizer.load().decode([BOS, 3 + 0xE4, 3 + 0xBD]) == "\ufffd"
