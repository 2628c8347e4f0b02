"""What the talkers say: seven languages, some two dozen words each, sixteen sentences made of them.

A word is written the way people write it; where espeak-ng cannot read that script, ``SPOKEN`` says what it is given
instead (pinyin for Mandarin, kana for Japanese). The last three sentences of a language are never trained on, though
all their words occur in the others: they tell reading from remembering.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

HELD_OUT_PER_LANGUAGE = 3

SENTENCES: dict[str, tuple[str, ...]] = {
    "English": (
        "hello",
        "hello my friend",
        "good morning",
        "good night my friend",
        "thank you",
        "one two three",
        "the red ball",
        "the cat is happy",
        "the horse runs",
        "the dog sees you",
        "my blue ball",
        "good dog",
        "my horse is happy",
        "the dog is happy",
        "good morning my friend",
        "the cat runs",
    ),
    "Mandarin": (
        "你好",
        "你好 呀",
        "谢谢 你",
        "早上 好",
        "今天 很 好",
        "我 爱 你",
        "我 爱 小 猫",
        "一 二 三",
        "红 花",
        "大 马",
        "我 喝 水",
        "再见 朋友",
        "小 狗 很 好",
        "我 爱 小 狗",
        "你好 朋友",
        "小 马 喝 水",
    ),
    "Cantonese": (
        "你好",
        "早晨 朋友",
        "多謝 你",
        "今日 好 開心",
        "我 愛 你",
        "我 飲 茶",
        "你 食 飯",
        "一 二 三",
        "細 貓",
        "大 狗",
        "紅 花",
        "再見 朋友",
        "我 愛 大 馬",
        "我 愛 細 狗",
        "多謝 朋友",
        "你 飲 茶",
    ),
    "Japanese": (
        "こんにちは",
        "おはよう",
        "ありがとう",
        "さようなら 友達",
        "私 の 犬",
        "赤い 花",
        "青い 水",
        "大きい 馬 です",
        "小さい 猫 です",
        "猫 が 好き",
        "今日 は いい 天気",
        "一 二 三",
        "花 が 好き です",
        "ありがとう 友達",
        "小さい 犬 です",
        "馬 が 好き",
    ),
    "Korean": (
        "안녕하세요",
        "안녕 친구",
        "감사합니다",
        "좋은 아침",
        "내 친구 사랑해요",
        "빨간 꽃",
        "파란 공",
        "작은 고양이",
        "큰 개",
        "오늘 날씨 좋아요",
        "하나 둘 셋",
        "네 물 좋아요",
        "내 작은 말",
        "안녕 고양이",
        "좋은 친구",
        "내 빨간 공",
    ),
    "German": (
        "hallo",
        "guten Morgen",
        "guten Abend mein Freund",
        "ja danke",
        "der rote Ball",
        "der blaue Ball",
        "der Hund schläft",
        "die Katze läuft",
        "das Pferd ist groß",
        "eins zwei drei",
        "mein Hund ist klein",
        "die Katze schläft",
        "hallo mein Freund",
        "das Pferd läuft",
        "der Ball ist groß",
        "danke mein Freund",
    ),
    "French": (
        "bonjour",
        "bonjour les amis",
        "merci mon ami",
        "bonsoir",
        "le chat dort",
        "le cheval court",
        "mon petit chien",
        "le ballon rouge",
        "le ballon bleu",
        "un deux trois",
        "la fleur est rouge",
        "oui merci",
        "le chien est grand",
        "bonsoir les amis",
        "le chien dort",
        "mon petit cheval",
    ),
}
"""Sentences of each language, words parted by spaces; the last three are held out."""

SPACELESS = ("Mandarin", "Cantonese", "Japanese")
"""Languages that write their words without spaces."""

LANGUAGES = tuple(SENTENCES)
VOICES = ("man", "woman")

SPOKEN: dict[str, dict[str, str]] = {
    "Mandarin": {
        "你好": "ni3hao3",
        "呀": "ya1",
        "谢谢": "xie4xie5",
        "你": "ni3",
        "早上": "zao3shang4",
        "好": "hao3",
        "今天": "jin1tian1",
        "很": "hen3",
        "我": "wo3",
        "爱": "ai4",
        "小": "xiao3",
        "猫": "mao1",
        "一": "yi1",
        "二": "er4",
        "三": "san1",
        "红": "hong2",
        "花": "hua1",
        "大": "da4",
        "马": "ma3",
        "喝": "he1",
        "水": "shui3",
        "再见": "zai4jian4",
        "朋友": "peng2you3",
        "狗": "gou3",
    },
    "Japanese": {
        "こんにちは": "こんにちわ",
        "友達": "ともだち",
        "私": "わたし",
        "犬": "いぬ",
        "赤い": "あかい",
        "花": "はな",
        "青い": "あおい",
        "水": "みず",
        "大きい": "おおきい",
        "馬": "うま",
        "小さい": "ちいさい",
        "猫": "ねこ",
        "好き": "すき",
        "今日": "きょう",
        "は": "わ",
        "天気": "てんき",
        "一": "いち",
        "二": "に",
        "三": "さん",
    },
}
"""What espeak-ng is given for a word that it cannot read as written; other words go to it as they are."""


def sentence_words(language: str) -> dict[str, tuple[str, ...]]:
    """The sentences of a language as they are written, each with its words: {"你好呀": ("你好", "呀")}."""
    return {written(language, line.split()): tuple(line.split()) for line in SENTENCES[language]}


def written(language: str, parts: Sequence[str]) -> str:
    """Words as a sentence of the language is written."""
    return ("" if language in SPACELESS else " ").join(parts)


def sentences(language: str) -> tuple[str, ...]:
    """All sentences of a language as they are written."""
    return tuple(sentence_words(language))


def held_out_sentences(language: str) -> tuple[str, ...]:
    """The sentences of a language that are never trained on."""
    return sentences(language)[-HELD_OUT_PER_LANGUAGE:]


def words(language: str) -> tuple[str, ...]:
    """The words of a language, in order of their first use."""
    return tuple(dict.fromkeys(word for line in SENTENCES[language] for word in line.split()))


def said_words(language: str, text: str) -> tuple[str, ...]:
    """The words of a sentence, or of any other row of the language's words; none if there is another word in it."""
    return sentence_words(language).get(text) or _taken_apart(language, text)


@functools.cache
def _taken_apart(language: str, text: str) -> tuple[str, ...]:
    """Words of a language that make up a text, the longest first wherever there is a choice; none if none do."""
    space = "" if language in SPACELESS else " "
    if text in words(language):
        return (text,)
    for word in sorted(words(language), key=len, reverse=True):
        if text.startswith(word + space) and (rest := _taken_apart(language, text[len(word + space) :])):
            return (word, *rest)
    return ()


def random_words(language: str, most: int, rng: random.Random) -> tuple[str, ...]:
    """One to ``most`` words of a language in random order, with no held-out sentence among them."""
    withheld = [sentence_words(language)[text] for text in held_out_sentences(language)]
    while True:
        drawn = rng.choices(words(language), k=rng.randint(1, most))
        drawn = said_words(language, written(language, drawn))
        if not any(_follow_each_other(secret, drawn) for secret in withheld):
            return drawn


def _follow_each_other(parts: tuple[str, ...], row: tuple[str, ...]) -> bool:
    return any(row[start : start + len(parts)] == parts for start in range(len(row) - len(parts) + 1))


def spoken(language: str, word: str) -> str:
    """What espeak-ng is given to say ``word``."""
    return SPOKEN.get(language, {}).get(word, word)
