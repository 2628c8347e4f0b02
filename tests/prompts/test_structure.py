import dataclasses

import pytest

from happyhorse.errors import PromptError
from happyhorse.prompts.structure import (
    NO_SOUND,
    Line,
    StructuredPrompt,
    compose,
    insert_dialogue,
    is_structured,
    one_line,
    parse,
    problems,
    space_dialogue,
    times_quoted,
    word_count,
)

BONJOUR = Line("Young woman in red coat", "French", "Bonjour tout le monde.")
NIHAO = Line("Old man, her father", "Mandarin", "你 好，朋 友")
PROMPT = StructuredPrompt(
    'A young woman says, "Bonjour tout le monde." An old man answers, "你 好，朋 友".',
    (BONJOUR, NIHAO),
    "Rain on a roof",
)
TEXT = """\
A young woman says, "Bonjour tout le monde." An old man answers, "你 好，朋 友".

Dialogue:
<Young woman in red coat, French>: "Bonjour tout le monde."
<Old man, her father, Mandarin>: "你 好，朋 友"

Background Sound:
<Rain on a roof>"""


def described(words: int, *quotes: str) -> str:
    """A description of so many words, with quotations at its end."""
    own = words - sum(word_count(quote) for quote in quotes)
    return " ".join(["word"] * own + [f'"{quote}"' for quote in quotes])


def test_the_layout_is_exact_and_parsing_is_its_inverse():
    assert compose(PROMPT) == TEXT
    assert parse(TEXT) == PROMPT


@pytest.mark.parametrize(
    "prompt",
    [
        StructuredPrompt("A horse trots."),
        StructuredPrompt("A horse trots.", (), "Hooves <on gravel>"),
        StructuredPrompt("A sign.", (Line("A", "English", 'She said "no": "<B, French>: "'),), "x"),
        StructuredPrompt("  A horse\n\ttrots. ", (Line(" A  man ", "Korean ", " 큰\n개 "),), " wind\n"),
        StructuredPrompt("The word Dialogue: is here, and Background Sound: too.", (BONJOUR, BONJOUR), NO_SOUND),
    ],
)
def test_everything_that_can_be_made_comes_back(prompt):
    assert parse(compose(prompt)) == prompt
    assert len(compose(prompt).split("\n\n")) == (3 if prompt.dialogue else 2)


def test_an_unnamed_sound_reads_as_none():
    assert compose(StructuredPrompt("A horse.", background="")).endswith(f"Background Sound:\n<{NO_SOUND}>")


def test_looser_text_is_read_too():
    text = (
        '\r\nA woman speaks.\r\n\r\nShe smiles.\r\ndialogue:\r\n<A woman,French>:"Oui"\r\n'
        "BACKGROUND SOUND: <Rain,\r\nand wind>\r\n"
    )
    assert parse(text) == StructuredPrompt(
        "A woman speaks. She smiles.", (Line("A woman", "French", "Oui"),), "Rain, and wind"
    )
    assert parse("A cat.\nDialogue:\n<No dialogue>\nBackground Sound:\n<Purring>").dialogue == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lacks its description and its background sound"),
        ("A horse trots.", "lacks its background sound"),
        ("Background Sound:\n<Rain>", "lacks its description"),
        ("A horse.\n\nBackground Sound:\n", "lacks its background sound"),
        ("A horse.\nBackground Sound:\nRain", "'Rain' does not stand in angle brackets"),
        ("A horse.\nDialogue:\nBackground Sound:\n<Rain>", "'Dialogue:' is empty"),
        ("A horse.\nDialogue:\nA man: hello\nBackground Sound:\n<Rain>", "'A man: hello' is not of the form"),
        ('A horse.\nDialogue:\n<A man>: "hello"\nBackground Sound:\n<Rain>', "is not of the form"),
        ('A horse.\nDialogue:\n<A, French>: "oui"\nDialogue:\n<A, French>: "oui"', "two sections 'Dialogue'"),
    ],
)
def test_what_is_missing_is_named(text, words):
    with pytest.raises(PromptError, match=words):
        parse(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Line("", "French", "oui"),
        lambda: Line("A man", " ", "oui"),
        lambda: Line("A man", "French", "\n"),
        lambda: Line("A <man>", "French", "oui"),
        lambda: Line("A man", "French, of Canada", "oui"),
        lambda: StructuredPrompt(" "),
        lambda: StructuredPrompt("Dialogue: a man speaks"),
        lambda: StructuredPrompt("A horse \ud800"),
    ],
)
def test_what_would_break_the_form_is_refused(make):
    with pytest.raises(PromptError):
        make()


def test_text_becomes_one_line_without_control_characters():
    assert one_line(" a\x1b[31m\n b\u3000c e\u0301 ") == "a [31m b c é"


def test_sections_are_recognised():
    assert is_structured(TEXT)
    assert is_structured("x\n Background Sound: <Rain>")
    assert not is_structured("A man says: the dialogue: is here")


def test_lines_are_spaced_in_both_places():
    lines = (Line("A", "Mandarin", "你好，朋友"), Line("B", "French", "Bonjour."))
    prompt = space_dialogue(StructuredPrompt("He says 「你好，朋友」. She: ‘ bonjour, ’ and waves.", lines))
    assert prompt.description == 'He says "你 好，朋 友". She: "Bonjour." and waves.'
    assert [line.text for line in prompt.dialogue] == ["你 好，朋 友", "Bonjour."]
    assert space_dialogue(prompt) == prompt
    assert all(compose(prompt).count(f'"{line.text}"') == 2 for line in prompt.dialogue)


def test_a_full_stop_of_the_quotation_alone_still_ends_the_sentence():
    prompt = space_dialogue(
        StructuredPrompt('He says, "Hello there." A door shuts.', (Line("A", "English", "Hello there"),))
    )
    assert prompt.description == 'He says, "Hello there". A door shuts.'
    assert space_dialogue(prompt) == prompt


def test_text_with_the_signs_of_patterns_is_quoted_as_it_is():
    line = Line("A", "English", r"5 \1 (or \d+)?")
    prompt = space_dialogue(StructuredPrompt(rf"He says “{line.text}” twice.", (line,)))
    assert prompt.description == rf'He says "{line.text}" twice.'


def test_a_line_that_is_not_quoted_gets_a_sentence_once():
    prompt = insert_dialogue(StructuredPrompt("A woman smiles.", (BONJOUR, dataclasses.replace(BONJOUR, text="Oui"))))
    assert prompt.description == (
        'A woman smiles. Young woman in red coat says in French: "Bonjour tout le monde." '
        'Young woman in red coat says in French: "Oui".'
    )
    assert insert_dialogue(prompt) == prompt
    assert insert_dialogue(PROMPT) == PROMPT


def test_a_line_that_is_said_twice_is_quoted_twice():
    twice = StructuredPrompt('One says "Oui".', (Line("One", "French", "Oui"), Line("Two", "French", "oui.")))
    inserted = insert_dialogue(twice)
    assert inserted.description == 'One says "Oui". Two says in French: "oui."'
    assert times_quoted(inserted.description, "Oui") == 2
    assert not any("quote" in problem for problem in problems(inserted))


def test_words_are_counted_without_characters_of_cjk():
    assert word_count('A man - tall - says "你 好, OK" twice') == 6
    assert word_count("") == 0


@pytest.mark.parametrize(("words", "said"), [(149, "say more"), (150, ""), (200, ""), (201, "shorten")])
def test_the_length_of_a_description_is_a_problem_outside_of_training(words, said):
    found = problems(StructuredPrompt(described(words)))
    assert len(found) == bool(said)
    assert all(said in problem and str(words) in problem for problem in found)


@pytest.mark.parametrize(
    ("quotes", "line", "words"),
    [
        ((), BONJOUR, 'does not quote "Bonjour tout le monde."'),
        (("Bonjour tout le monde.",) * 2, BONJOUR, "2 times: quote it once"),
        (("Oui",), Line("A tall man in a coat", "French", "Oui"), "has 6 words: describe them in 5"),
        (("Hola",), Line("A man", "Spanish", "Hola"), "'Spanish' is not a language"),
        (("Oui",), Line("A man", "fr", "Oui"), "called 'French' in training"),
        (("你好",), Line("A man", "Mandarin", "你好"), "needs a space between its characters: 你 好"),
    ],
)
def test_each_problem_of_a_line_says_how_to_mend_it(quotes, line, words):
    found = problems(StructuredPrompt(described(160, *quotes), (line,)))
    assert len(found) == 1
    assert words in found[0]


def test_other_problems():
    assert "translate it" in problems(StructuredPrompt(f"{described(160)} 红花"))[0]
    assert "no background sound is named" in problems(StructuredPrompt(described(160), background=""))[0]
    assert problems(StructuredPrompt(described(160, "你 好"), (Line("A", "Mandarin", "你 好"),))) == []
