"""Builds the foal's vocabulary from what its world can say.

    python -m happyhorse.data.scenes.vocabulary

Words of every family's prompts and of the speech bank become whole pieces; common English words and word endings are
added so that other prompts stay short. Pieces of an existing file keep their places and new ones are appended, because
trained weights know a piece by its number.
"""

from __future__ import annotations

import collections
import json
import random
import re
import sys
from importlib import resources

from happyhorse.codecs.text import FIRST_PIECE, VOCABULARY_FILE, normalise, spell
from happyhorse.data.scenes.sentences import LANGUAGES, SPACELESS, words
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.errors import ConfigError
from happyhorse.files import whole_file

VOCABULARY_LIMIT = 2048
"""Rows of the foal's embedding table."""
PROMPTS_PER_FAMILY = 3000
"""Enough that every template meets every word many times."""

_CHUNK = re.compile(r" ?\w+|-\w+| ?[^\w\s]\x02?|\s")
_COMMON = """
the of and to in is it that for on are as with they be at this have from or one had by but not what all were we
when your can there use an each which she do how their if will up other about out many then them these so some
her would make like him into time has look two more write go see no way could people my than first water been
call who now find long down day did get come made may part over new sound take only little work know place year
live me back give most very after our just name good sentence man think say great where help through much before
line right too mean old any same tell boy follow came want show also around form three small set put end does
another well large must big even such because turn here why ask went men read need land different home us move
try kind hand picture again change off play spell air away animal house point page letter mother answer found
study still learn should world high every near between own below country last under while might next hard open
begin life always those both paper together got group often run important until children side feet car night
walk white sea began grow took river four carry state once book hear stop without second later miss idea enough
eat face watch far really almost let above girl sometimes mountain cut young talk soon list song leave family
body music color colour woman dog cat horse ball rain wave snow wood metal stone gravel grass street forest lake
sky sunset sunny dark light bright slow fast quiet loud soft heavy calm rough camera shot video film scene close
wide front behind left top bottom middle standing sitting running jumping falling singing smiling laughing
crying wearing holding looking walking speaking talking hair skin eyes mouth shirt hat wall floor ground tree
flower bird fish city room window door table chair cup phone
"""
_ENDINGS = (
    "s ed er est ing ly es en al ion y ness ment ful less able th an in on re un st nd ar or it is at ou ea ch sh"
)


def prompts(per_family: int) -> list[str]:
    """Many prompts of every family, trained, brief and held-out phrasings alike, always the same ones."""
    said = []
    for name, family in FAMILIES.items():
        rng = random.Random(name)
        for number in range(per_family):
            attributes = family.choose(rng, held_out=number % 4 == 0, seconds=5.0)
            phrases = (family.prompt, family.held_out_prompt, family.prompt, family.brief_prompt)
            said.append(phrases[number % 4](attributes, rng))
    return said


def pieces() -> list[str]:
    """All pieces of the world, the most frequent first; then the bank's words; then common English."""
    counts = collections.Counter(chunk for prompt in prompts(PROMPTS_PER_FAMILY) for chunk in chunks(prompt))
    bank = [lead(language) + normalise(word) for language in LANGUAGES for word in words(language)]
    ranked = sorted(counts, key=lambda chunk: (-counts[chunk], chunk))
    common = [f" {word}" for word in _COMMON.split()] + _ENDINGS.split()
    return list(dict.fromkeys(ranked + bank + common))


def chunks(prompt: str) -> list[str]:
    """Words with the space before them, and marks; what stands inside quotation marks is left to the bank's words."""
    outside = re.sub(r'"[^"]*"', '"x"', normalise(prompt))
    return [chunk for chunk in _CHUNK.findall(spell(outside)) if chunk not in (" x", "x", " ")] + ['"', ' "', ' "\x02']


def lead(language: str) -> str:
    return "" if language in SPACELESS else " "


def extend(old: list[str], new: list[str]) -> list[str]:
    """``old`` with what it lacks appended. ConfigError where the embedding table has no room for it."""
    together = list(dict.fromkeys([*old, *new]))
    if FIRST_PIECE + len(together) > VOCABULARY_LIMIT:
        raise ConfigError(
            f"{len(together)} pieces and 259 others exceed the {VOCABULARY_LIMIT} rows of the embedding table"
        )
    return together


def main() -> int:
    with resources.as_file(resources.files("happyhorse.codecs").joinpath(VOCABULARY_FILE)) as path:
        old = json.loads(path.read_text("utf-8")) if path.exists() else []
        together = extend(old, pieces())
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(together, ensure_ascii=False, indent=0) + "\n", "utf-8")
    print(f"{len(old)} pieces kept, {len(together) - len(old)} added: {FIRST_PIECE + len(together)} token ids")
    return 0


if __name__ == "__main__":
    sys.exit(main())
