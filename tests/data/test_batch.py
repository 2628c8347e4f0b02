"""Prompts drawn for training."""

from happyhorse.data.batch import draw_prompts, seeded
from happyhorse.data.scenes.world import FAMILIES

RED_BALL = ("ball", {"colour": "red", "surface": "wood"})


def test_prompts_are_the_familys_paraphrases_and_differ_by_row_and_step():
    drawn = [prompt for step in range(100) for prompt in draw_prompts([RED_BALL] * 4, 0.0, 0, step)]
    full = {FAMILIES["ball"].prompt(RED_BALL[1], seeded(n)) for n in range(8000)}
    brief = {FAMILIES["ball"].brief_prompt(RED_BALL[1], seeded(n)) for n in range(400)}
    assert len(set(drawn)) > 100 and set(drawn) <= full | brief
    assert 0.06 < sum(prompt in brief for prompt in drawn) / len(drawn) < 0.18


def test_dropout_gives_the_null_prompt_in_its_share():
    prompts = draw_prompts([RED_BALL] * 2000, 0.1, 0, 0)
    assert 150 < prompts.count("") < 250
    assert set(draw_prompts([RED_BALL] * 5, 1.0, 0, 0)) == {""}


def test_equal_parts_give_equal_draws():
    assert seeded("a", 1).random() == seeded("a", 1).random() != seeded("a", 2).random()
