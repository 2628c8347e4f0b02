"""The seven languages that people speak in clips: their names, how to tell them apart, how their lines are written."""

from __future__ import annotations

import dataclasses
import re
import unicodedata


@dataclasses.dataclass(frozen=True)
class Language:
    """A language that the models speak."""

    name: str
    """In English, as it stands in a prompt."""
    code: str
    """ISO 639-1, or 639-3 where that has none."""
    also: tuple[str, ...] = ()
    """What else it is called, in lower case."""


LANGUAGES = (
    Language("English", "en"),
    Language("Mandarin", "zh", ("cmn", "chinese", "mandarin chinese", "putonghua", "中文", "国语", "國語", "普通话")),
    Language("Cantonese", "yue", ("zh-hk", "cantonese chinese", "粤语", "粵語", "广东话", "廣東話")),
    Language("Japanese", "ja", ("日本語",)),
    Language("Korean", "ko", ("한국어",)),
    Language("German", "de", ("deutsch",)),
    Language("French", "fr", ("français",)),
)
NAMES = tuple(language.name for language in LANGUAGES)
LATIN = ("English", "German", "French")
"""Languages of Latin letters: their lines are left as they are."""

_BY_WORD = {word: language for language in LANGUAGES for word in (language.name.lower(), language.code, *language.also)}
_SPOKEN = sorted((word for word in _BY_WORD if len(word) > 3 or not word.isascii()), key=len, reverse=True)
_NAMED = re.compile("|".join(rf"\b{word}\b" if word.isascii() else word for word in _SPOKEN), re.IGNORECASE)

KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9d"
HANGUL = "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"
HAN = "\u3005-\u3007\u3105-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ranges of characters for a regular expression: kana, hangul, han (with Bopomofo and the marks of iteration)."""
CJK = re.compile(f"[{KANA}{HANGUL}{HAN}]")

_SCRIPTS = (
    (re.compile(f"[{KANA}]"), ("Japanese",)),
    (re.compile(f"[{HANGUL}]"), ("Korean",)),
    (re.compile(f"[{HAN}]"), ("Mandarin", "Cantonese", "Japanese")),
    (re.compile("[ßäöü]", re.IGNORECASE), ("German", "English", "French")),
    (re.compile("[çœàâèêîôû]", re.IGNORECASE), ("French", "English", "German")),
)
# Marks that belong to the character before them: combining ones, variation selectors, half-width voicing.
_MARKS = "\u0300-\u036f\u3099\u309a\ufe00-\ufe0f\uff9e\uff9f\U000e0100-\U000e01ef"
_AFTER_CJK = re.compile(rf"({CJK.pattern}[{_MARKS}]*)(?=\w)")
_BEFORE_CJK = re.compile(rf"(?<=[^\W{KANA}{HANGUL}{HAN}])(?={CJK.pattern})")
_WIDE_MARK = re.compile(" *([\u3001-\u3003\u3008-\u3011\u3014-\u301f\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40]) *")


def language_named(word: str) -> Language | None:
    """The language of a name or code ("French", "fr", "fr-CA", "Chinese"); None if it is not one of the seven."""
    asked = " ".join(word.lower().replace("_", "-").split())
    return _BY_WORD.get(asked) or _BY_WORD.get(re.sub("^([a-z]{2,3})-.*", r"\1", asked))


def languages_in(text: str) -> list[str]:
    """Names of the languages that a text mentions, in order."""
    return [_BY_WORD[found.lower()].name for found in _NAMED.findall(text)]


def possible(text: str) -> tuple[str, ...]:
    """Languages that a line may be in by its script, the likeliest first.

    Kana is Japanese and hangul Korean; Mandarin, Cantonese and Japanese are all written in han alone. Letters that only
    German or French has put that one first among those of Latin letters.
    """
    composed = unicodedata.normalize("NFC", text)
    return next((languages for script, languages in _SCRIPTS if script.search(composed)), LATIN)


def guess(text: str, told: str | None = None) -> str:
    """The language of a spoken line: what was ``told`` (a name or code), else the likeliest of its script."""
    if told:
        known = language_named(told)
        return known.name if known else told
    return possible(text)[0]


def spaced(text: str, language: str) -> str:
    """A line as the published model reads it: one space between the characters of Chinese, Japanese and Korean.

    Latin words and numbers stay whole, with a space to their neighbours; full-width punctuation has none around it.
    Korean is spaced by syllable as well, though it has words of its own: the authors' guide asks for it and writes its
    Korean examples so, and a line must look as in training. Where its words ended can then not be seen any more.
    English, German and French are left as they are. Doing it twice changes nothing.
    """
    if language in LATIN:
        return text
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    apart = _BEFORE_CJK.sub(" ", _AFTER_CJK.sub(r"\1 ", composed))
    return _WIDE_MARK.sub(r"\1", apart) if CJK.search(apart) else apart
