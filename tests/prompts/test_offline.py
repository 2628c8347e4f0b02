import pytest

from happyhorse.errors import PromptError
from happyhorse.prompts.offline import background_of, guessed, quotations, without_model
from happyhorse.prompts.structure import NO_SOUND, Line, StructuredPrompt, compose


def lines_of(short):
    return [(line.speaker, line.language, line.text) for line in without_model(short).dialogue]


def test_a_short_prompt_is_taken_apart():
    assert without_model(
        "A young woman in a red coat says in French “Bonjour” with the sound of rain"
    ) == StructuredPrompt(
        'A young woman in a red coat says in French "Bonjour" with the sound of rain',
        (Line("Young woman in red coat", "French", "Bonjour"),),
        "Sound of rain",
    )
    assert without_model("  A horse\ntrots ") == StructuredPrompt("A horse trots", (), "")


def test_a_prompt_with_sections_is_read_as_it_stands():
    prompt = StructuredPrompt('A man says "Oui".', (Line("A man in grey", "French", "Oui"),), "Rain")
    assert without_model(compose(prompt)) == prompt
    again = without_model('A cat.\n\nDialogue:\n<A, Mandarin>: "你好"\n\nBackground Sound:\n<Rain>')
    assert again.dialogue[0].text == "你 好"
    assert again.description == 'A cat. A says in Mandarin: "你 好".'
    with pytest.raises(PromptError, match="lacks its background sound"):
        without_model('A cat.\n\nDialogue:\n<A, French>: "oui"')


@pytest.mark.parametrize(
    ("short", "line"),
    [
        ('"Hello," whispers an old man in a hat.', ("Old man in a hat", "English", "Hello")),
        ('A cat sits. "Hello," she says in German.', ("The woman", "German", "Hello")),
        ('A man enters. "Hello," says a woman.', ("Woman", "English", "Hello")),
        ("green wall, light-skinned woman, black hair, says 'it’s me'", ("Light-skinned woman", "English", "it’s me")),
        ('the woman has blond hair, the Cantonese words: "一二三"', ("Woman", "Cantonese", "一 二 三")),
        ('a Chinese man says "Hello"', ("Chinese man", "English", "Hello")),
        ('In complete silence a French woman says "oui"', ("French woman", "French", "oui")),
        ('A chef stirs a pot. She says "schön"', ("Chef", "German", "schön")),
        ("女人说「ありがとう」", ("The person who is speaking", "Japanese", "あ り が と う")),
        ("A boy with a kite, who waits, shouts in Korean: «큰개»", ("Boy with a kite", "Korean", "큰 개")),
    ],
)
def test_speaker_and_language_follow_the_words_around_a_quotation(short, line):
    assert lines_of(short) == [line]


def test_each_quotation_has_its_own_words_around_it():
    assert lines_of('A news anchor says in English "good evening" and in French "bonsoir"') == [
        ("News anchor", "English", "good evening"),
        ("News anchor", "French", "bonsoir"),
    ]
    assert lines_of('She says "one" in French and "two" in German') == [
        ("The woman", "French", "one"),
        ("The woman", "German", "two"),
    ]
    assert lines_of('A boy says "Dad!" A man replies "Here."') == [
        ("Boy", "English", "Dad!"),
        ("Man", "English", "Here."),
    ]


def test_writing_in_the_picture_is_not_said():
    assert lines_of('a man holds a sign that reads "OPEN", a book called "Dune"') == []
    assert lines_of("the horses' hooves don't stop, it's 5' tall, \" \"") == []
    assert quotations("a 'small' man: “one” 「二」 \"three\" „vier“ »fünf«") == [
        "small",
        "one",
        "二",
        "three",
        "vier",
        "fünf",
    ]


@pytest.mark.parametrize(
    ("short", "sound"),
    [
        ("a woman smiles", ""),
        ("Rain. Background sound: a distant train; dusk", "Distant train"),
        ("a woman smiles while soft piano music plays in the background", "Soft piano music plays"),
        ("the sound of rain on a roof and a woman says hi", "Sound of rain on a roof"),
        ("rain falls with mountains in the background", ""),
        ('he says "the sound of music"', ""),
        ("a man waits, no background noise", NO_SOUND),
        ("she nods in silence", NO_SOUND),
    ],
)
def test_the_sound_that_a_prompt_names(short, sound):
    assert background_of(short) == sound


def test_languages_that_were_guessed_are_known():
    def texts(short):
        return [line.text for line in guessed(short, without_model(short))]

    assert texts('A man says "hello"') == ["hello"]
    assert texts('A man says "你好" and "ありがとう"') == ["你 好"]
    assert texts('A man says in Mandarin "你好"') == []


@pytest.mark.parametrize(("short", "words"), [(" \n", "empty"), ("a" * 5001, "5001 characters"), ("\ud800", "Unicode")])
def test_what_cannot_be_read_is_refused(short, words):
    with pytest.raises(PromptError, match=words):
        without_model(short)
