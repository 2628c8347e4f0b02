import json

import numpy as np
import pytest

from happyhorse.codecs.images import write_png
from happyhorse.errors import ConfigError, MediaError, PromptError
from happyhorse.prompts.rewrite import INSTRUCTIONS, read_answer, rewrite
from happyhorse.prompts.structure import NO_SOUND, Line, StructuredPrompt

SHORT = 'a man says "你好，朋友"'
ANSWER = {
    "description": "A man sits still. He says, '你好，朋友。' His lips close.",
    "dialogue": [{"speaker": "Man in grey coat", "language": "zh", "text": "你好，朋友"}],
    "background": "<Rain>",
}
GOOD = json.dumps(ANSWER)
PROMPT = StructuredPrompt(
    'A man sits still. He says, "你 好，朋 友". His lips close.',
    (Line("Man in grey coat", "Mandarin", "你 好，朋 友"),),
    "Rain",
)


def changed(**changes):
    return json.dumps({**ANSWER, **changes})


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"\n{GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"Here it is:\n```\n{GOOD}\n```\nEnjoy.",
        f"<think>\nA {{man}}.\n</think>\n{GOOD}",
        changed(dialogue=[{"speaker": "Man in grey coat", "language": "Mandarin", "text": "“你 好，朋 友”"}]),
    ],
)
def test_json_is_read_plain_fenced_and_after_thoughts(played, answer):
    played.answers = [answer]
    assert rewrite(SHORT, played.endpoint()) == PROMPT
    assert played.asked[0]["messages"] == [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": SHORT},
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("Sure! A man says hello.", "not JSON ('Sure! A man says hello.')"),
        ("", "not JSON ('nothing')"),
        ("[" * 10**5, "not JSON"),
        ("[]", "it has a list"),
        ("{}", "it has none"),
        (json.dumps({**ANSWER, "title": ""}), "description, dialogue, background, title"),
        (changed(description=3), "description of the answer is not a string"),
        (changed(dialogue="none"), "dialogue of the answer is not a list"),
        (changed(background=None), "background of the answer is not a string"),
        (changed(description=" "), "the description is empty"),
        (changed(description="Dialogue: x"), "begins with"),
        (changed(dialogue=[{"speaker": "A", "text": "b"}]), "a line of dialogue in the answer is not"),
        (changed(dialogue=[{"speaker": "A", "language": 1, "text": "b"}]), "a line of dialogue in the answer is not"),
        (changed(dialogue=["hello"]), "a line of dialogue in the answer is not"),
        (changed(dialogue=[{"speaker": "", "language": "French", "text": "b"}]), "empty speaker"),
        (changed(description="A man says hello.", dialogue=[]), 'left out what the request quotes: "你好，朋友"'),
        (changed(description="\ud800"), "not valid Unicode"),
    ],
)
def test_what_was_not_asked_for_is_named(answer, words):
    with pytest.raises(PromptError) as refused:
        read_answer(answer, SHORT)
    assert words in str(refused.value)


def test_a_broken_answer_is_sent_back_once_with_what_is_wrong(played):
    played.answers = ["{broken", GOOD]
    assert rewrite(SHORT, played.endpoint()) == PROMPT
    first, second = (asked["messages"] for asked in played.asked)
    assert second[:2] == first
    assert second[2] == {"role": "assistant", "content": "{broken"}
    assert second[3]["role"] == "user"
    assert "the answer is not JSON ('{broken')" in second[3]["content"]


def test_two_broken_answers_are_an_error(played):
    played.answers = ["no", "no again", GOOD]
    with pytest.raises(PromptError, match=r"little answered twice .* \('no again'\); try another model"):
        rewrite(SHORT, played.endpoint())
    assert len(played.asked) == 2


def test_an_endpoint_that_refuses_is_not_asked_again(played):
    played.answers = [(500, b"full"), GOOD]
    with pytest.raises(ConfigError, match="500: full"):
        rewrite(SHORT, played.endpoint())
    assert len(played.asked) == 1


def test_gaps_of_an_answer_are_filled():
    line = {"speaker": "a girl", "language": "", "text": "ありがとう"}
    prompt = read_answer(changed(description="A girl.", dialogue=[line], background=" "), "a girl thanks")
    assert prompt == StructuredPrompt(
        'A girl. A girl says in Japanese: "あ り が と う".', (Line("a girl", "Japanese", "あ り が と う"),), NO_SOUND
    )


def test_quotations_are_compared_by_their_letters():
    read_answer(changed(description="A sign reads ‘ＯＰＥＮ now!’", dialogue=[]), 'a sign reads "Open, now"')
    with pytest.raises(PromptError, match="left out"):
        read_answer(changed(description="A sign.", dialogue=[]), 'a sign reads "Open, now"')


def test_an_image_goes_with_the_request(played, tmp_path):
    write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    played.answers = [GOOD]
    rewrite(SHORT, played.endpoint(), tmp_path / "a.png")
    text, image = played.asked[0]["messages"][1]["content"]
    assert text == {"type": "text", "text": SHORT}
    assert image["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_nothing_is_asked_for_what_cannot_be_read(played, tmp_path):
    with pytest.raises(PromptError, match="empty"):
        rewrite(" ", played.endpoint())
    with pytest.raises(MediaError):
        rewrite(SHORT, played.endpoint(), tmp_path / "none.png")
    assert played.asked == []
