"""A short prompt in the form of the large model by rules alone: no network, no other model, always the same answer.

The words stay the person's own. What is said goes into its section, with a guess at who says it and in which language;
so does a sound that is named. Guesses follow the words around a quotation and can be wrong: they are there to be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from happyhorse.errors import PromptError
from happyhorse.prompts.languages import languages_in, possible
from happyhorse.prompts.structure import (
    NO_SOUND,
    SPEAKER_WORDS_MAX,
    Line,
    StructuredPrompt,
    insert_dialogue,
    is_structured,
    one_line,
    parse,
    space_dialogue,
)

CHARACTERS_MAX = 5000
"""Longest prompt that is read, as in generating."""
SOMEBODY = "The person who is speaking"

_QUOTED = re.compile(
    '"([^"]+)"|“([^”]+)”|„([^“”]+)[“”]|«([^»]+)»|»([^«]+)«|「([^」]+)」|『([^』]+)』'
    r"|(?<!\w)['‘]((?:[^'’]|(?<=\w)['’](?=\w))+)['’](?!\w)"  # an apostrophe stands between letters
)
_SHOWN = re.compile(
    r"\b(?:reads?|reading|titled|entitled|called|named|labell?ed|captioned|written|logo|sign|title)\s*$", re.IGNORECASE
)
"""Before a quotation, these say that it is seen rather than said."""
_SPEECH = (
    r"(?:says?|said|saying|asks?|asking|whispers?|whispering|shouts?|shouting|sings?|singing|speaks?|speaking|"
    r"repl(?:y|ies|ying)|answers?|exclaims?|mutters?|murmurs?|calls? out|cries|tells?|announces?|declares?|yells?)"
)
_PERSON = re.compile(
    r"\b(?:(?:wo)?m[ae]n|girl|boy|child|kid|baby|lady|gentleman|person|teacher|doctor|nurse|chef|singer|actor|actress|"
    r"host|anchor|presenter|reporter|student|worker|farmer|driver|soldier|(?:grand)?(?:mother|father|ma|pa)|sister|"
    r"brother|king|queen|waiter|waitress|clerk|speaker|narrator|robot|guide|officer|artist|professor|journalist)\b",
    re.IGNORECASE,
)
_DETERMINER = re.compile(r".*\b(?:an?|the|one|another|his|her|their|this|that|my|in|with|on)\s+", re.IGNORECASE)
_TRAITS = re.compile(r"\s+(?:in|with|of|from|at|behind|beside|wearing|holding|carrying|dressed)\b", re.IGNORECASE)
_ACTS = re.compile(
    rf"\s+(?:who|sits?|stands?|looks?|walks?|turns?|smiles?|leans?|faces|nods?|waits?|stares?|is|has|{_SPEECH})\b.*",
    re.IGNORECASE,
)
"""Where a description of somebody ends and what they do begins."""
_PRONOUNS = {"she": "The woman", "he": "The man"}
_ARTICLES = ("a", "an", "the")
_LOOSE_ENDS = (*_ARTICLES, "in", "with", "of", "from", "at", "on", "and", "or", "his", "her")

_LOUD = r"(?:music|song|chatter|noise|sounds?|hum|birdsong|rain|wind|thunder|traffic|waves|applause|laughter|birds)"
_HEARD = r"(?:\s+(?:\w+ing|\w+ly|plays?|can|be|is|are|heard))*"
_NEXT = rf"(?=[,.;]|$|\b(?:while|as|then)\b|\band\b[^,.;]*\b{_SPEECH})"
_SOUNDS = (
    re.compile(r"\bbackground (?:sounds?|noise|music)\s*(?::|is|are|of)\s*([^.;]+)", re.IGNORECASE),
    re.compile(rf"\b((?:sounds?|noises?|hum|murmur|roar|patter|music|chatter|song) of .+?){_NEXT}", re.IGNORECASE),
    re.compile(rf"((?:[\w-]+\s+){{0,3}}\b{_LOUD}\b{_HEARD}) in the background", re.IGNORECASE),
)
_SILENCE = re.compile(
    r"\b(?:no (?:background )?(?:sounds?|noise|music)|(?:in|complete|total) silence)\b", re.IGNORECASE
)
_LEADING = re.compile(r"^(?:(?:and|with|while|as|there (?:is|are)|the|an?|some)\s+)+", re.IGNORECASE)


def without_model(short: str) -> StructuredPrompt:
    """A short prompt as a structured one, by rules; one that has the sections already is read as it stands.

    Raises PromptError if it is empty, too long or not Unicode, or if its sections cannot be read.
    """
    text = checked(short)
    if is_structured(short):
        prompt = parse(short)
    else:
        prompt = StructuredPrompt(text, tuple(spoken_lines(text)), background_of(text))
    return insert_dialogue(space_dialogue(prompt))


def checked(short: str) -> str:
    """A short prompt on one line. Raises PromptError if it is empty, too long or not Unicode."""
    text = one_line(short)
    if not text:
        raise PromptError("the prompt is empty; say what should be seen and heard")
    if len(text) > CHARACTERS_MAX:
        raise PromptError(f"the prompt has {len(text)} characters; the limit is {CHARACTERS_MAX}: shorten it")
    return text


def quotations(text: str) -> list[str]:
    """What stands in quotation marks."""
    return [_inside(quote) for quote in _QUOTED.finditer(text) if _inside(quote)]


def spoken_lines(text: str) -> Iterator[Line]:
    """The quotations that are said, each with its speaker and language as the words around it tell."""
    quotes = [quote for quote in _QUOTED.finditer(text) if _inside(quote)]
    ends = [0, *(quote.end() for quote in quotes)]
    starts = [*(quote.start() for quote in quotes[1:]), len(text)]
    speaker = SOMEBODY
    for quote, end, start in zip(quotes, ends, starts, strict=False):
        before, after = text[end : quote.start()], _sentence(text[quote.end() : start])
        if not _SHOWN.search(before):
            said = _inside(quote)
            speaker = speaker_near(before, after) or speaker
            yield Line(speaker, language_near(said, before, after), said)


def guessed(short: str, prompt: StructuredPrompt) -> list[Line]:
    """Lines whose language the short prompt does not name and their script leaves open."""
    named = languages_in(short)
    return [line for line in prompt.dialogue if line.language not in named and len(possible(line.text)) > 1]


def language_near(said: str, before: str, after: str) -> str:
    """The language of a quotation: the nearest "in French", else its script, and where several share that, one that is
    mentioned ("a French woman", "the Cantonese words")."""
    told = [(len(before) - end, language) for _, end, language in _told_in(before)]
    told += [(start, language) for start, _, language in _told_in(after)]
    if told:
        return min(told)[1]
    fitting = possible(said)
    mentioned = [language for language in languages_in(f"{after} {before}") if language in fitting]
    return mentioned[-1] if mentioned else fitting[0]


def _told_in(text: str) -> Iterator[tuple[int, int, str]]:
    """Where a text says "in French" and the like: start, end, language."""
    for match in re.finditer(r"\bin (\w+)", text, re.IGNORECASE):
        if languages := languages_in(match[1]):
            yield match.start(), match.end(), languages[0]


def speaker_near(before: str, after: str) -> str:
    """Who says a quotation, in five words at most: somebody named before it, or after it if the sentence goes on so;
    "" if nobody is named."""
    last = re.split("[.!?]", before)[-1]
    turned = re.search(rf"\b{_SPEECH}\b", after, re.IGNORECASE)
    if turned and not re.search(rf"\b{_SPEECH}\b", last, re.IGNORECASE) and not before.rstrip().endswith((":", ",")):
        return _person(_clauses(after))
    return _person(reversed(_clauses(before))) or _person(_clauses(after))


def background_of(text: str) -> str:
    """The sound that a prompt names outside of its quotations; "" if none, NO_SOUND if it asks for none."""
    unquoted = _QUOTED.sub(" ", text)
    if _SILENCE.search(unquoted):
        return NO_SOUND
    for pattern in _SOUNDS:
        if found := pattern.search(unquoted):
            sound = _LEADING.sub("", " ".join(found[1].split()))
            return sound[:1].upper() + sound[1:]
    return ""


def _inside(quote: re.Match[str]) -> str:
    return next(filter(None, quote.groups())).strip(" ,，、")


def _sentence(text: str) -> str:
    """Up to the end of the sentence that a quotation stands in."""
    return re.split("[.;!?]", text)[0]


def _clauses(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"[.,;:!?]|\band\b|\bthen\b|\bwhile\b", text) if part.strip()]


def _person(clauses: Iterable[str]) -> str:
    """The first person that clauses describe, or who a pronoun stands for; "" if there is none."""
    pronoun = ""
    for clause in clauses:
        words = [word.lower() for word in re.findall(r"\w+", clause)]
        pronoun = pronoun or next((_PRONOUNS[word] for word in words if word in _PRONOUNS), "")
        if found := _PERSON.search(clause):
            return _five_words(clause[: found.end()], clause[found.end() :])
    return pronoun


def _five_words(named: str, rest: str) -> str:
    """ "walking past, an old man" and " in a hat sits down" become "Old man in a hat"."""
    traits = _ACTS.sub("", rest) if _TRAITS.match(rest) else ""
    words = re.findall(r"[\w'’-]+", _DETERMINER.sub("", named)) + re.findall(r"[\w'’-]+", traits)
    if len(words) > SPEAKER_WORDS_MAX:
        words = [word for word in words if word.lower() not in _ARTICLES][:SPEAKER_WORDS_MAX]
    while len(words) > 1 and words[-1].lower() in _LOOSE_ENDS:
        words.pop()
    phrase = " ".join(words)
    return phrase[:1].upper() + phrase[1:]
