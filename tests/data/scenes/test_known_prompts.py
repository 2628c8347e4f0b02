import random

import pytest

from happyhorse.data.scenes.known_prompts import note_for, unknown_parts
from happyhorse.data.scenes.world import FAMILIES, prompt, sample_plan


@pytest.mark.parametrize("family", FAMILIES)
def test_training_prompts_are_known(family):
    for plan in (sample_plan(seed, 5.0, family=family) for seed in (1000, 1001, 1002)):
        for seed in range(300):  # the rarest word is one choice of one template
            assert unknown_parts(prompt(plan, random.Random(seed))) == []
            assert unknown_parts(FAMILIES[family].brief_prompt(plan.attributes, random.Random(seed))) == []


def test_what_is_unknown_is_named():
    assert unknown_parts("A purple dragon on wood, says the dragon") == ["dragon"]
    assert unknown_parts('a woman says "buy my soap" in English') == ['"buy my soap"']


def test_the_note_says_what_is_known_and_who_reads_free_text():
    assert note_for("a red ball") == ""
    note = note_for("a dragon")
    assert "dragon" in note
    assert "scenes --list" in note
    assert "magihuman" in note
    assert len(note.splitlines()) == 1
