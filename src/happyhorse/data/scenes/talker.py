"""Talkers: a portrait says a quoted sentence in one of seven languages, and the mouth follows its phonemes.

Named by the prompt: voice, skin, hair, background, language, sentence. Left to the seed: when the eyes blink, the phase
of a slight sway of the head, and whether speech begins after 10 or 11 frames.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from happyhorse.data.scenes import acoustics, portrait
from happyhorse.data.scenes.catalogue import vary
from happyhorse.data.scenes.scene import FPS, Canvas, Plan, Truth
from happyhorse.data.scenes.sentences import (
    LANGUAGES,
    VOICES,
    held_out_sentences,
    random_words,
    said_words,
    sentences,
    written,
)
from happyhorse.data.scenes.speech import LEAD_FRAMES, mouth_curve, sentence, sentence_seconds, speak
from happyhorse.errors import ConfigError

HELD_OUT_LOOKS = (("black", "green"), ("brown", "pink"), ("red", "yellow"), ("grey", "blue"))
"""Pairs of hair and background that are never trained on: 4 of 25."""

MOST_WORDS = 5
"""Most words of a talker who says words in random order."""

TEMPLATES = (
    'a {voice} with {skin} skin and {hair} hair in front of a {background} wall says "{sentence}" in {language}',
    'portrait of a {skin}-skinned {voice} with {hair} hair, {background} background, speaking {language}: "{sentence}"',
    'a {skin}-skinned {voice} with {hair} hair [says|speaks] "{sentence}" in {language}, {background} background',
    'in {language}, a {hair}-haired {voice} with {skin} skin says "{sentence}" [before|against] a {background} wall',
    'a talking {voice}, {hair} hair, {skin} skin, {background} wall. the {voice} says in {language}: "{sentence}"',
    '"{sentence}", says a {hair}-haired, {skin}-skinned {voice} in {language} against a {background} background',
    'close-up of a {voice} speaking {language} in front of a {background} wall, {skin} skin, {hair} hair: "{sentence}"',
    'a {voice} [speaks|says in] {language}: "{sentence}". <{skin} skin/{hair} hair/{background} background>',
    'on a {background} background a {voice} with {hair} hair and {skin} skin says "{sentence}" in {language}',
    'video of a {hair}-haired {voice} with {skin} skin saying "{sentence}" in {language}, the wall is {background}',
    'we [hear|see] a {voice} say "{sentence}" in {language}: <{hair} hair/{skin} skin/a {background} wall>',
    '"{sentence}" in {language}, [said|spoken] by a {voice} with <{hair} hair/{skin} skin/a {background} wall>',
    'before a {background} wall, a {voice} with <{skin} skin/{hair} hair> [speaks|talks]: "{sentence}" ({language})',
    'the hair of the {voice} is {hair}, the skin {skin}, the wall {background}. we hear "{sentence}" in {language}',
    '{language}: "{sentence}". <a {skin}-skinned, {hair}-haired {voice}/[|a ]{background} [wall|background]>',
    'a face, <{skin} skin/{hair} hair/{background} [wall|background]>: a {voice} says "{sentence}" in {language}',
    "a {voice}[,|:] <{skin} skin/{hair} hair/[|a |the ]{background} [wall|background]>, "
    '[says|saying|speaks|speaking] [|in ]{language}: "{sentence}"',
    "<{skin} skin/{hair} hair/[|a ]{background} [wall|background]>[,|.|:] [a|the|this] {voice} "
    '[says|speaks|says the words] "{sentence}"[ in {language}|, {language}| ({language})]',
    "[the|this] {voice} has <{skin} skin/{hair} hair>[,|.] [the|a] [wall|background] is {background}[.|:] "
    '[the|these] words in {language}: "{sentence}"',
    "[the|a] {voice} is {skin}-skinned[, has| with] {hair} hair[,|.] [before|in front of|against] a {background} "
    '[wall|background]. {language} [speech|sentence|words]: "{sentence}"',
    '"{sentence}"[ in| is| is said in|, a sentence in] {language}[.|,] <the skin is {skin}/the hair is {hair}/the '
    "[wall|background] is {background}>, [a|the] {voice} [speaks|talks]",
    "<the hair is {hair}/the skin is {skin}/the [wall|background] is {background}>. [the|a|this] {voice} "
    '[says|speaks|talks]: "{sentence}", [in |]{language}',
    "<a {hair}-haired {voice}/{skin} skin/[|a ]{background} [wall|background]>: {language}[,|:| words,| voice,] "
    '"{sentence}"',
    'talking [head|face], {language}, "{sentence}", <{voice}/{hair} hair/{skin} skin/{background} [wall|background]>',
    '[we |]hear [the|a] {voice} [say|speak] [in |]{language}[:|,] "{sentence}". <{hair} hair/{skin} skin/{background} '
    "wall>",
    'the [sentence|speech|voice] is [in |]{language}: "{sentence}". <a {voice}/{hair} hair/{skin} skin/[|a ]'
    "{background} [wall|background]>",
    "{language} [speech|language|voice], <{voice}/{skin} skin/{hair} hair/{background} [wall|background]>[,|:] "
    '"{sentence}"',
    "a {language} [speaker|talker], [a|one] {voice} with <{hair} hair/{skin} skin>, [on|against] {background}, says "
    '"{sentence}"',
    "[a|the] {background} [wall|background] [and|with|behind] [a|the] {voice} with <{skin} skin/{hair} hair> who "
    '[says|speaks] [|in ]{language}[,|:] "{sentence}"',
    'the {voice} [with|has] {hair} hair, {skin} skin, [and says|says] [|the words |the sentence ]"{sentence}" in '
    "{language}[, before|. behind is] [a|the] {background} [wall|background]",
    '<{hair} hair/{skin} skin/{background} [wall|background]/{voice}/{language}/"{sentence}">',
)
"""Ways to ask for a talker, used in training; see ``catalogue.vary``."""

BRIEF = (
    'a {voice} [says|saying|speaks] "{sentence}"[| in {language}|, {language}]',
    '[a|the] {voice}: "{sentence}"',
    '"{sentence}"[| in {language}|, says a {voice}]',
    '{language}: "{sentence}"',
    '[somebody|a face|a person] [saying|speaking] [|in ]{language}: "{sentence}"',
    'a {voice} with {hair} hair [says|speaking] "{sentence}"[| in {language}]',
    'a {skin}-skinned {voice} says "{sentence}"[| in {language}]',
    '[before|against] a {background} [wall|background], a {voice} says "{sentence}"',
    "a {hair}-haired {voice} [speaks|talks][| in {language}]",
    "a {voice} [talks|speaks][| before a {background} wall]",
)
"""Ways to ask that leave something open."""

HELD_OUT_TEMPLATES = (
    '{background} wall, {skin}-skinned {voice}, {hair} hair, says in {language} "{sentence}"',
    'the {voice} has {hair} hair and {skin} skin, the background is {background}, the {language} words: "{sentence}"',
)
"""Ways to ask that training never uses."""


@dataclasses.dataclass(frozen=True)
class Talker:
    """The family of talking portraits; see ``scene.Family``."""

    name: str = "talker"
    loose: float = 0.0
    """Share of the trained talkers that say words in random order instead of a sentence, so that reading is learned
    and not a list of sentences."""
    attributes: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=lambda: {
            "voice": VOICES,
            "skin": tuple(portrait.SKIN),
            "hair": tuple(portrait.HAIR),
            "background": tuple(portrait.BACKGROUND),
            "language": LANGUAGES,
            "sentence": tuple(dict.fromkeys(text for language in LANGUAGES for text in sentences(language))),
        }
    )

    @property
    def wordings(self) -> tuple[str, ...]:
        return (*TEMPLATES, *BRIEF)

    def values(self, attributes: Mapping[str, str]) -> tuple[str, ...]:
        """The values in the order of the family's attributes; ConfigError for what no talker looks like or says."""
        if set(attributes) != set(self.attributes):
            raise ConfigError(
                f"{self.name} is described by {', '.join(self.attributes)}, not by {', '.join(attributes)}"
            )
        for key, value in attributes.items():
            if key != "sentence" and value not in self.attributes[key]:
                raise ConfigError(f"{self.name} has no {key} {value}; it knows {', '.join(self.attributes[key])}")
        language, text = attributes["language"], attributes["sentence"]
        if not said_words(language, text):
            known = ", ".join(sentences(language))
            raise ConfigError(f"{text} is not a sentence in {language}; a talker says the words of: {known}")
        return tuple(attributes[key] for key in self.attributes)

    def choose(self, rng: random.Random, held_out: bool, seconds: float) -> dict[str, str]:
        """Attributes drawn at random; the sentence is one that fits in ``seconds`` where the language has one.

        Held out means a sentence that is never trained on, or a look that never is, each half of the time.
        """
        new_sentence = held_out and rng.random() < 0.5
        looks = [
            look
            for look in itertools.product(portrait.HAIR, portrait.BACKGROUND)
            if held_out_look(*look) == (held_out and not new_sentence)
        ]
        hair, background = rng.choice(looks)
        look = {"hair": hair, "background": background, "language": rng.choice(LANGUAGES)}
        chosen = {key: look.get(key) or rng.choice(self.attributes[key]) for key in self.attributes}
        secret = held_out_sentences(chosen["language"])
        texts = [text for text in sentences(chosen["language"]) if (text in secret) == new_sentence]
        fitting = [text for text in texts if self.fits(chosen | {"sentence": text}, seconds)]
        said = chosen | {"sentence": rng.choice(fitting or texts)}
        return self.loosened(said, rng, seconds) if not held_out and rng.random() < self.loose else said

    def loosened(self, attributes: dict[str, str], rng: random.Random, seconds: float) -> dict[str, str]:
        """The same talker with words in random order, as many of them as fit in ``seconds``."""
        language = attributes["language"]
        parts = random_words(language, MOST_WORDS, rng)
        said = attributes | {"sentence": written(language, parts)}
        while len(parts) > 1 and not self.fits(said, seconds):
            parts = parts[:-1]
            said = attributes | {"sentence": written(language, parts)}
        return said

    def held_out(self, attributes: Mapping[str, str]) -> bool:
        unsaid = attributes["sentence"] in held_out_sentences(attributes["language"])
        return unsaid or held_out_look(attributes["hair"], attributes["background"])

    def fits(self, attributes: Mapping[str, str], seconds: float) -> bool:
        """Whether the whole sentence is said within ``seconds``."""
        return sentence_seconds(attributes["language"], attributes["voice"], attributes["sentence"]) <= seconds

    def plan(self, seed: int, seconds: float, attributes: Mapping[str, str]) -> Plan:
        """A sentence that does not fit in ``seconds`` is cut off at the end; see ``fits``."""
        self.values(attributes)
        rng = random.Random(f"{self.name}-{seed}")
        lead = LEAD_FRAMES + rng.randrange(2)
        spots = sentence(attributes["language"], attributes["voice"], attributes["sentence"], lead)
        frames = 4 * math.ceil((round(seconds * FPS) - 1) / 4) + 1
        truth = Truth(
            mouth=mouth_curve(spots, frames),
            words=tuple((word.text, start, end) for word, start, end in spots if start < seconds),
        )
        motion = {"lead": lead, "sway": rng.random(), "blinks": blink_times(seconds, rng)}
        return Plan(self.name, seed, seconds, dict(attributes), motion, truth)

    def prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return vary(rng.choice(TEMPLATES), rng).format_map(attributes)

    def brief_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        return vary(rng.choice(BRIEF), rng).format_map(attributes)

    def held_out_prompt(self, attributes: Mapping[str, str], rng: random.Random) -> str:
        """A phrasing that training never uses."""
        return rng.choice(HELD_OUT_TEMPLATES).format_map(attributes)

    def draw(self, plans: Sequence[Plan], canvas: Canvas) -> Tensor:
        return portrait.draw(plans, canvas)

    def sound(self, plans: Sequence[Plan], samples: int, device: torch.device | str) -> Tensor:
        voices = torch.stack([speech(plan, samples) for plan in plans]).to(device)
        return voices + acoustics.SILENCE * acoustics.hiss(plans, samples, device)


def held_out_look(hair: str, background: str) -> bool:
    """Whether this hair is never trained on before this background."""
    return (hair, background) in HELD_OUT_LOOKS


def blink_times(seconds: float, rng: random.Random) -> tuple[float, ...]:
    """Middles of the blinks: every two to four seconds."""
    times, now = [], rng.uniform(0.5, 2.5)
    while now < seconds:
        times.append(now)
        now += rng.uniform(2, 4)
    return tuple(times)


def speech(plan: Plan, samples: int) -> Tensor:
    """The sentence of a plan, [samples]."""
    wanted = plan.attributes
    spots = sentence(wanted["language"], wanted["voice"], wanted["sentence"], plan.motion["lead"])
    return speak(spots, samples)


FAMILY = Talker()
LOOSE = Talker(loose=0.6)
"""Talkers to learn reading from."""
