"""Whether a prompt stays inside the foal's world: the words that its training prompts are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from happyhorse.data.scenes.world import FAMILIES

QUOTED = re.compile('["“”„«»「」]([^"“”„«»「」]+)["“”„«»「」]')
"""What stands in quotation marks."""
_GAP = re.compile(r"\{\w+\}")
_PLAIN = "a an the of on in at to and or with is are it its this that there by for from over near"
"""Words that carry no scene: any prompt may use them."""


def unknown_parts(text: str) -> list[str]:
    """Words and quoted sentences of a prompt that no training prompt has, in order, each once."""
    words, sentences = _vocabulary()
    quoted = [part.strip() for part in QUOTED.findall(text)]
    parts = [word for word in _words(QUOTED.sub(" ", text)) if word not in words]
    parts += [f'"{part}"' for part in quoted if _plain(part) not in sentences]
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


def _vocabulary() -> tuple[set[str], set[str]]:
    """Words outside of quotes, and whole sentences inside of them, of the foal's world."""
    words: set[str] = {*_PLAIN.split()}
    sentences: set[str] = set()
    for family in FAMILIES.values():
        sentences.update(_plain(value) for value in family.attributes.get("sentence", ()))
        words.update(word for key, values in family.attributes.items() if key != "sentence" for word in _joined(values))
        words.update(_joined(_GAP.sub(" ", wording) for wording in family.wordings))
    return words, sentences


def _joined(values: Iterable[str]) -> list[str]:
    return [word for value in values for word in _words(value)]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _plain(text: str) -> str:
    return " ".join(_words(text))
