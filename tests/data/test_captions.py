"""Captions of scenes: one wording that names everything, read back to the letter."""

import pytest

from happyhorse.data.scenes.captions import caption, read_caption, slots
from happyhorse.data.scenes.world import FAMILIES, sample_plan


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_a_caption_says_is_the_scene(family, split):
    for seed in range(20):
        plan = sample_plan(seed, 5.0, split, family)
        text = caption(plan.family, plan.attributes)
        assert caption(plan.family, plan.attributes) == text
        found = slots(text, plan.family, plan.attributes)
        assert set(found) == {"family", *plan.attributes} and all(found.values()), (text, found)


def test_one_wrong_word_is_one_wrong_slot():
    truth = {"colour": "red", "surface": "wood"}
    assert slots("a blue ball bounces on wood", "ball", truth) == {"family": True, "colour": False, "surface": True}
    assert slots("A red ball  bounces on wood", "ball", truth) == {"family": True, "colour": True, "surface": True}


def test_a_wrong_sentence_is_one_wrong_slot():
    plan = sample_plan(1, 5.0, family="talker")
    text = caption("talker", plan.attributes)
    wrong = text.replace(text.split('"')[1], "hello")
    assert [name for name, right in slots(wrong, "talker", plan.attributes).items() if not right] == ["sentence"]


def test_another_scene_or_no_caption_at_all_is_wrong_in_everything():
    truth = {"colour": "red", "surface": "wood"}
    for text in ("light rain falls on a street", "a red ball", ""):
        assert not any(slots(text, "ball", truth).values()), text
    assert read_caption("nothing of this kind") is None
