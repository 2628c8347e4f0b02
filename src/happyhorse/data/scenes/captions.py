"""The one wording in which the foal describes a clip, and what a caption says of each attribute."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from happyhorse.codecs.text import normalise
from happyhorse.data.scenes.world import FAMILIES

SAID = "sentence"
"""The attribute that stands in quotation marks and has too many values to list."""
_QUOTED = re.compile('"[^"]*"')


class _First(random.Random):
    """Chooses the first of everything and leaves every order as it is."""

    def choice(self, seq: Sequence[Any]) -> Any:
        return seq[0]

    def shuffle(self, x: Any) -> None:
        pass


def caption(family: str, attributes: Mapping[str, str]) -> str:
    """The first of a family's paraphrases, normalised; it names every attribute."""
    return normalise(FAMILIES[family].prompt(attributes, _First()))


def read_caption(text: str) -> tuple[str, dict[str, str]] | None:
    """Family and attributes that a caption speaks of; None if it is nobody's caption, to the letter."""
    text = normalise(text)
    found = _captions().get(_QUOTED.sub('""', text, count=1))
    if found is None:
        return None
    family, attributes = found
    said = _QUOTED.search(text)
    return family, {**attributes, SAID: said[0].strip('"')} if said else dict(attributes)


def slots(text: str, family: str, attributes: Mapping[str, str]) -> dict[str, bool]:
    """Whether a caption says the truth of each attribute, and ("family") of what kind of scene it is."""
    found, said = read_caption(text) or ("", {})
    same = {name: normalise(said.get(name, "")) == normalise(value) for name, value in attributes.items()}
    return {"family": found == family, **{name: found == family and right for name, right in same.items()}}


@functools.cache
def _captions() -> dict[str, tuple[str, dict[str, str]]]:
    """Every caption, its sentence left out, with what it says."""
    found = {}
    for family, world in FAMILIES.items():
        names = [name for name in world.attributes if name != SAID]
        for values in itertools.product(*(world.attributes[name] for name in names)):
            attributes = dict(zip(names, values, strict=True))
            text = caption(family, attributes | ({SAID: ""} if SAID in world.attributes else {}))
            found.setdefault(text, (family, attributes))
    return found
