"""What a family can be asked for in words: its attributes, the combinations kept out of training, its paraphrases."""

from __future__ import annotations

import dataclasses
import itertools
import random
import re
from collections.abc import Mapping
from typing import Any

from happyhorse.data.scenes.scene import Plan, Truth
from happyhorse.errors import ConfigError

JOINTS = (", ", ". ", " and ")
"""What stands between parts whose order is free."""
_INNERMOST = re.compile(r"\[([^][<>]*)\]|<([^][<>]*)>")


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """The wordy half of a ``Family``; a family adds ``plan``, ``draw`` and ``sound``."""

    name: str
    """Name of the family."""
    attributes: Mapping[str, tuple[str, ...]]
    """The attributes a prompt can name, and their values."""
    withheld: frozenset[tuple[str, ...]]
    """Combinations (values in the order of ``attributes``) that are never trained on."""
    templates: tuple[str, ...]
    """Paraphrases with ``{attribute}`` gaps, see ``vary``; "a" becomes "an" where it should."""
    brief: tuple[str, ...]
    """Wordings that leave some attributes open, as hurried people do."""
    held_out_templates: tuple[str, ...]
    """Paraphrases that are never trained on."""

    @property
    def wordings(self) -> tuple[str, ...]:
        return (*self.templates, *self.brief)

    def held_out(self, attributes: Mapping[str, str]) -> bool:
        return self.values(attributes) in self.withheld

    def values(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        """The values in the order of the family's attributes; ConfigError for a combination it does not have."""
        if set(attributes) != set(self.attributes):
            raise ConfigError(
                f"{self.name} is described by {', '.join(self.attributes)}, not by {', '.join(attributes)}"
            )
        values = tuple(attributes[key] for key in self.attributes)
        if values not in self.combinations():
            raise ConfigError(f"{self.name} has no {' + '.join(values)}; it knows {_choices(self.attributes)}")
        return values

    def combinations(self) -> list[tuple[str, ...]]:
        """All combinations that make sense."""
        return list(itertools.product(*self.attributes.values()))

    def scene(self, seed: int, seconds: float, attributes: Mapping[str, str], motion: Mapping[str, Any]) -> Plan:
        """A plan whose events, if any, are ``motion["times"]`` with ``motion["strengths"]``."""
        self.values(attributes)
        times = seen(motion.get("times", ()), seconds)
        truth = Truth(times, tuple(motion.get("strengths", ())[: len(times)]))
        return Plan(self.name, seed, seconds, dict(attributes), motion, truth)

    def choose(self, rng: random.Random, held_out: bool, seconds: float) -> dict[str, str]:
        """Attributes drawn at random among those that are trained on, or among those that are held out."""
        allowed = [values for values in self.combinations() if (values in self.withheld) == held_out]
        return dict(zip(self.attributes, rng.choice(allowed), strict=True))

    def prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return fill(vary(rng.choice(self.fitting(self.templates, attributes)), rng), attributes)

    def brief_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return fill(vary(rng.choice(self.fitting(self.brief, attributes)), rng), attributes)

    def held_out_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return fill(vary(rng.choice(self.fitting(self.held_out_templates, attributes)), rng), attributes)

    def fitting(self, templates: tuple[str, ...], attributes: Mapping[str, str]) -> tuple[str, ...]:
        """The templates that these attributes can be said with: all of them, unless a family says otherwise."""
        return templates


def vary(template: str, rng: random.Random) -> str:
    """The template with its choices made and its parts in some order.

    "[a|the] ball" is "a ball" or "the ball"; "<red hair/dark skin>" is both, either first, joined in one of ``JOINTS``.
    Either may stand inside the other.
    """
    while found := _INNERMOST.search(template):
        choice, parts = found.groups()
        template = template[: found.start()] + _said(choice, parts, rng) + template[found.end() :]
    return template


def _said(choice: str | None, parts: str | None, rng: random.Random) -> str:
    if parts is None:
        return rng.choice((choice or "").split("|"))
    order = parts.split("/")
    rng.shuffle(order)
    return rng.choice(JOINTS).join(order)


def fill(template: str, attributes: Mapping[str, str]) -> str:
    """The template with its gaps filled and its articles right: "a orange ball" is "an orange ball"."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", template.format_map(attributes))


def beats(first: float, period: float, seconds: float) -> tuple[float, ...]:
    """Evenly spaced times from ``first`` on, a little past the end: a padded clip still sounds as it moves."""
    count = int((seconds + 0.25 - first) / period) + 1
    return tuple(first + index * period for index in range(max(count, 0)))


def seen(times: tuple[float, ...], seconds: float) -> tuple[float, ...]:
    """The times that a clip of ``seconds`` shows and sounds: those at least half a frame before its end."""
    return tuple(time for time in times if time <= seconds - 0.02)


def _choices(attributes: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{key}: {', '.join(values)}" for key, values in attributes.items())
