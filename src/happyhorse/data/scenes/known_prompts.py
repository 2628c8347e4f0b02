"""Whether a prompt stays inside the foal's world: the words that its training prompts are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from happyhorse.data.scenes.sentences import LANGUAGES, SPACELESS, said_words, words
from happyhorse.data.scenes.world import FAMILIES

QUOTED = re.compile('["“”„«»「」]([^"“”„«»「」]+)["“”„«»「」]')
"""What stands in quotation marks."""
_GAP = re.compile(r"\{\w+\}")
_PLAIN = "a an the of on in at to and or with is are it its this that there by for from over near"
"""Words that carry no scene: any prompt may use them."""


def unknown_parts(text: str) -> list[str]:
    """Words of a prompt that no training prompt has, and quotes that no talker can say, in order, each once."""
    known = _vocabulary()
    quoted = [part.strip() for part in QUOTED.findall(text)]
    parts = [word for word in _words(QUOTED.sub(" ", text)) if word not in known]
    parts += [f'"{part}"' for part in quoted if not _can_be_said(part)]
    return list(dict.fromkeys(parts))


def note_for(text: str) -> str:
    """A line that says what the foal does not know in a prompt and what it knows; empty if it knows everything."""
    unknown = unknown_parts(text)
    if not unknown:
        return ""
    shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
    return (
        f"note: the foal was never shown {shown}; it knows {', '.join(FAMILIES)} scenes (happyhorse scenes --list), "
        "and a magihuman model will read free text"
    )


def _can_be_said(quoted: str) -> bool:
    """Whether what stands in quotes is made of words of one language."""
    plain = _words(quoted)
    return any(
        said_words(language, "".join(plain))
        if language in SPACELESS
        else plain and {*plain} <= {word.lower() for word in words(language)}
        for language in LANGUAGES
    )


def _vocabulary() -> set[str]:
    """Words outside of quotes of the foal's world."""
    known: set[str] = {*_PLAIN.split()}
    for family in FAMILIES.values():
        known.update(word for key, values in family.attributes.items() if key != "sentence" for word in _joined(values))
        known.update(_joined(_GAP.sub(" ", wording) for wording in family.wordings))
    return known


def _joined(values: Iterable[str]) -> list[str]:
    return [word for value in values for word in _words(value)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())
