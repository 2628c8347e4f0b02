"""The form of a prompt that the published 15.3 B model was trained on (daVinci-MagiHuman, guide to prompts).

One paragraph in English, 150 to 200 words, in the order of time, every spoken line quoted where it is said.

Dialogue:
<Young woman in red coat, French>: "Bonjour tout le monde."

Background Sound:
<Rain on a tin roof>
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterator

from happyhorse.errors import PromptError
from happyhorse.prompts.languages import CJK, NAMES, language_named, spaced

WORDS_MIN, WORDS_MAX = 150, 200
"""Words of a description in training."""
SPEAKER_WORDS_MAX = 5
NO_SOUND = "No prominent background sound"
"""What the model reads where nothing but voices is heard."""
NO_DIALOGUE = "<No dialogue>"
QUOTATION_MARKS = "\"'“”„‟‘’«»「」『』"

_HEADER = re.compile(r"(dialogue|background sound)\s*:\s*(.*)", re.IGNORECASE)
_LINE = re.compile(r'<([^<>]+),([^<>,]+)>\s*:\s*"(.+)"')
_STOPS = ".,。，"
_ENGLISH = {"。": ".", "，": ","}
_ENDS = ".!?。！？…"


def one_line(text: str) -> str:
    """``text`` in NFC on one line, single-spaced, without control characters. PromptError if it is not Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError("the prompt is not valid Unicode text; give it as UTF-8") from error
    composed = unicodedata.normalize("NFC", text)
    return " ".join("".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in composed).split())


@dataclasses.dataclass(frozen=True)
class Line:
    """What somebody says. PromptError if a field is empty or would break the form."""

    speaker: str
    """Who: a description of at most five words, or a name."""
    language: str
    """Its name in English."""
    text: str
    """The words, in their own language, without quotation marks around them."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = one_line(getattr(self, field.name))
            if not value:
                raise PromptError(f"a line of dialogue has an empty {field.name}; each needs speaker, language, text")
            object.__setattr__(self, field.name, value)
        for name, value, banned in (("speaker", self.speaker, "<>"), ("language", self.language, "<>,")):
            if set(value) & set(banned):
                raise PromptError(f"the {name} {value!r} of a line of dialogue may not have any of {' '.join(banned)}")


@dataclasses.dataclass(frozen=True)
class StructuredPrompt:
    """A prompt in its three sections. PromptError if the description is empty or begins like a section."""

    description: str
    """What is seen and heard, one paragraph."""
    dialogue: tuple[Line, ...] = ()
    """Everything that is said, in order."""
    background: str = NO_SOUND
    """The most prominent sound besides the voices."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "description", one_line(self.description))
        object.__setattr__(self, "background", one_line(self.background))
        if not self.description:
            raise PromptError("the description is empty; say what should be seen and heard")
        if header := _HEADER.match(self.description):
            raise PromptError(f"the description begins with {header[1]!r} and a colon, as a section does; reword it")


def compose(prompt: StructuredPrompt) -> str:
    """The text that the model reads. The section of dialogue is left out if nobody speaks; that of sound never is."""
    sections = [prompt.description]
    if prompt.dialogue:
        lines = (f'<{line.speaker}, {line.language}>: "{line.text}"' for line in prompt.dialogue)
        sections.append("\n".join(("Dialogue:", *lines)))
    sections.append(f"Background Sound:\n<{prompt.background or NO_SOUND}>")
    return "\n\n".join(sections)


def parse(text: str) -> StructuredPrompt:
    """Inverse of ``compose``, also of text whose description has several paragraphs or whose headers share a line.

    Raises PromptError naming what is missing or what cannot be read.
    """
    sections = _sections(text)
    missing = [name for name in ("description", "background sound") if not sections.get(name)]
    if missing:
        raise PromptError(
            f"the prompt lacks its {' and its '.join(missing)}; it is a paragraph, then 'Dialogue:' with lines "
            "<speaker, language>: \"text\" if anybody speaks, then 'Background Sound:' with <...>"
        )
    background = " ".join(sections["background sound"])
    if not (background.startswith("<") and background.endswith(">")):
        raise PromptError(f"the background sound {background[:60]!r} does not stand in angle brackets: write <...>")
    dialogue = tuple(_parse_lines(sections["dialogue"])) if "dialogue" in sections else ()
    return StructuredPrompt(" ".join(sections["description"]), dialogue, background[1:-1])


def is_structured(text: str) -> bool:
    """Whether a text has a section of its own for dialogue or background sound."""
    return any(_HEADER.match(line.strip()) for line in text.splitlines())


def _sections(text: str) -> dict[str, list[str]]:
    """The lines of each section that are not empty; "description" is what comes before the first header."""
    name = "description"
    sections: dict[str, list[str]] = {name: []}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        header = _HEADER.match(line)
        if header:
            name = header[1].lower()
            if name in sections:
                raise PromptError(f"the prompt has two sections {header[1]!r}; leave one")
            sections[name] = []
        rest = header[2] if header else line
        sections[name] += [rest] if rest else []
    return sections


def _parse_lines(lines: list[str]) -> Iterator[Line]:
    if not lines:
        raise PromptError("the section 'Dialogue:' is empty; write <speaker, language>: \"text\", or leave it out")
    for line in lines if lines != [NO_DIALOGUE] else []:
        found = _LINE.fullmatch(line)
        if not found:
            raise PromptError(f'the line of dialogue {line[:60]!r} is not of the form <speaker, language>: "text"')
        yield Line(*found.groups())


def space_dialogue(prompt: StructuredPrompt) -> StructuredPrompt:
    """Spoken lines as the model reads them (``languages.spaced``), also where the description quotes them.

    There they get plain quotation marks and their own last stop: each line stands twice, letter for letter.
    """
    dialogue = tuple(dataclasses.replace(line, text=spaced(line.text, line.language)) for line in prompt.dialogue)
    description = prompt.description
    for line in dialogue:
        description = _quotes(line.text).sub(lambda found, line=line: _quoted(line, found[1]), description)
    return dataclasses.replace(prompt, description=description, dialogue=dialogue)


def _quoted(line: Line, stop: str) -> str:
    """A line in quotation marks; a full stop that the quotation had and the line has not goes behind them, since it
    ends the sentence around it too."""
    return f'"{line.text}"{"" if line.text[-1] in _ENDS else _ENGLISH.get(stop, stop)}'


def insert_dialogue(prompt: StructuredPrompt) -> StructuredPrompt:
    """The prompt with a sentence at the end of its description for each line that is not quoted in it."""
    description = prompt.description
    for index, line in enumerate(prompt.dialogue):
        same = _times_said(prompt.dialogue[: index + 1], line)
        if times_quoted(description, line.text) < same:
            description = f"{description} {_saying(line)}"
    return dataclasses.replace(prompt, description=description)


def times_quoted(description: str, text: str) -> int:
    """How often a description quotes a line, whatever its spaces, quotation marks and last full stop."""
    return len(_quotes(text).findall(description))


def _quotes(text: str) -> re.Pattern[str]:
    marks = f"[{QUOTATION_MARKS}]"
    letters = r"\s*".join(map(re.escape, _letters(text)))
    return re.compile(rf"{marks}\s*{letters}\s*([{_STOPS}]?)\s*{marks}", re.IGNORECASE)


def _letters(text: str) -> str:
    """What is compared of a line: no spaces, no full stop at its end (a quotation ends in a comma as often)."""
    bare = "".join(unicodedata.normalize("NFC", text).split())
    return bare.rstrip(_STOPS) or bare


def _times_said(dialogue: tuple[Line, ...], line: Line) -> int:
    return sum(_letters(other.text).casefold() == _letters(line.text).casefold() for other in dialogue)


def _saying(line: Line) -> str:
    stop = "" if line.text[-1] in _ENDS else "."
    return f'{line.speaker[0].upper()}{line.speaker[1:]} says in {line.language}: "{line.text}"{stop}'


def problems(prompt: StructuredPrompt) -> list[str]:
    """What the model was not trained on in a prompt, a line each, with how to mend it; none of it is an error."""
    found = [*_description_problems(prompt)]
    for line in dict.fromkeys(prompt.dialogue):
        found += _line_problems(prompt, line)
    if not prompt.background:
        found.append(f"no background sound is named, so the prompt says <{NO_SOUND}>; name one if there should be one")
    return found


def word_count(description: str) -> int:
    """Words of a description; characters of Chinese, Japanese and Korean are none."""
    return sum(any(map(str.isalnum, word)) for word in CJK.sub(" ", description).split())


def _description_problems(prompt: StructuredPrompt) -> Iterator[str]:
    count = word_count(prompt.description)
    if not WORDS_MIN <= count <= WORDS_MAX:
        mend = "say more of faces, small movements, light and framing" if count < WORDS_MIN else "shorten it"
        yield f"the description has {count} words, and in training {WORDS_MIN} to {WORDS_MAX}: {mend}"
    unquoted = prompt.description
    for line in prompt.dialogue:
        unquoted = _quotes(line.text).sub(" ", unquoted)
    if CJK.search(unquoted):
        yield "the description is not in English alone: translate it, and leave only what is said in its language"


def _line_problems(prompt: StructuredPrompt, line: Line) -> Iterator[str]:
    shown = f'"{line.text}"' if len(line.text) <= 40 else f'"{line.text[:37]}..."'
    times = times_quoted(prompt.description, line.text)
    wanted = _times_said(prompt.dialogue, line)
    if times < wanted:
        yield f"the description does not quote {shown}: quote it where it is said"
    if times > wanted:
        yield f"the description quotes {shown} {times} times: quote it once, where it is said"
    words = len(line.speaker.split())
    if words > SPEAKER_WORDS_MAX:
        yield f"the speaker {line.speaker!r} has {words} words: describe them in {SPEAKER_WORDS_MAX} at most"
    known = language_named(line.language)
    if known is None:
        yield f"{line.language!r} is not a language that the model was trained on: it speaks {', '.join(NAMES)}"
    elif known.name != line.language:
        yield f"the language {line.language!r} is called {known.name!r} in training: write it so"
    if spaced(line.text, line.language) != line.text:
        yield f"{shown} needs a space between its characters: {spaced(line.text, line.language)}"
