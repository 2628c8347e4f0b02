"""How much of what was to be said is heard: word and character errors of transcripts.

Rates are those of a corpus: all errors over all units, so that a short sentence counts for little. Chinese, Cantonese
and Japanese are written without spaces, so they are counted in characters; Korean in both; all others in words. The
reference is what the prompt quotes and nothing else.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

import jiwer

CHARACTERS = ("Mandarin", "Cantonese", "Japanese", "Korean")
"""Languages whose characters are counted."""
WORDS = ("English", "German", "French", "Korean")
"""Languages whose words are counted."""

_APOSTROPHES = re.compile("[’ʼ]")


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors of one transcript."""

    wrong: int
    """Least number of units to change, drop or add (Levenshtein 1966)."""
    units: int
    """Words or characters of the reference."""


def normalise(text: str) -> str:
    """What counts of a text: NFKC, no case, no marks but apostrophes inside words, single spaces."""
    folded = _APOSTROPHES.sub("'", unicodedata.normalize("NFKC", text)).casefold()
    kept = "".join(letter if _counts(letter) else " " for letter in folded)
    return " ".join(word.strip("'") for word in kept.split() if word.strip("'"))


def _counts(letter: str) -> bool:
    return letter == "'" or unicodedata.category(letter)[0] in "LMN"


def word_errors(reference: str, heard: str) -> Errors:
    """Errors in words. ``reference`` must hold at least one."""
    found = jiwer.process_words(_reference(reference), normalise(heard))
    return _counted(found)


def character_errors(reference: str, heard: str) -> Errors:
    """Errors in characters, spaces left out. ``reference`` must hold at least one."""
    found = jiwer.process_characters(_reference(reference).replace(" ", ""), normalise(heard).replace(" ", ""))
    return _counted(found)


def counted_errors(language: str, reference: str, heard: str) -> dict[str, Errors]:
    """Errors by unit ("words", "characters") in the units that a language is counted in."""
    counted: dict[str, Errors] = {}
    if language in WORDS:
        counted["words"] = word_errors(reference, heard)
    if language in CHARACTERS:
        counted["characters"] = character_errors(reference, heard)
    return counted


def _counted(found: jiwer.WordOutput | jiwer.CharacterOutput) -> Errors:
    missed = found.substitutions + found.deletions
    return Errors(missed + found.insertions, missed + found.hits)


def _reference(text: str) -> str:
    reference = normalise(text)
    assert reference, f"nothing to be said in {text!r}"
    return reference
