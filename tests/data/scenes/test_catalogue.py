import itertools
import random

import pytest

from happyhorse.data.scenes import ball, horse, talker, walker, weather
from happyhorse.data.scenes.catalogue import JOINTS, Catalogue, beats, fill, seen, vary
from happyhorse.data.scenes.scene import Family
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.errors import ConfigError

CATALOGUES = (ball.FAMILY, horse.FAMILY, walker.FAMILY, weather.FAMILY)


def test_articles_follow_the_word():
    assert fill("a {colour} ball", {"colour": "orange"}) == "an orange ball"
    assert fill("A {colour} ball on a hill", {"colour": "red"}) == "A red ball on a hill"


def test_choices_are_all_taken_and_nothing_else_is():
    rng = random.Random(0)
    drawn = {vary("[a|the] ball[| rolls] on [{surface}]", rng) for _ in range(100)}
    assert drawn == {f"{article} ball{verb} on {{surface}}" for article in ("a", "the") for verb in ("", " rolls")}


def test_parts_stand_in_any_order_and_hold_choices():
    rng = random.Random(0)
    drawn = {vary("<{hair} hair/[|a ]wall>: hello", rng) for _ in range(300)}
    orders = [part for wall in ("wall", "a wall") for part in itertools.permutations(("{hair} hair", wall))]
    assert drawn == {joint.join(order) + ": hello" for order in orders for joint in JOINTS}


TRAINED = [(family.name, (*family.templates, *family.brief), family.held_out_templates) for family in CATALOGUES]
TRAINED += [("talker", (*talker.TEMPLATES, *talker.BRIEF), talker.HELD_OUT_TEMPLATES)]


@pytest.mark.parametrize(("name", "trained", "held_out"), TRAINED, ids=lambda part: part if type(part) is str else "")
def test_no_wording_is_trained_and_held_out(name: str, trained: tuple[str, ...], held_out: tuple[str, ...]):
    """A held-out wording could only be had from parts in another order if all its words could."""
    rng = random.Random(0)
    kept = {vary(template, rng) for template in trained for _ in range(1000)}
    assert len(kept) > 80 and not kept & set(held_out), name
    assert all(vary(template, rng) == template for template in held_out)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_only_brief_wordings_leave_something_open(family: Family):
    rng = random.Random(0)
    for _ in range(300):
        attributes = family.choose(rng, False, 5.0)
        words = family.prompt(attributes, rng)
        assert all(value in words for value in attributes.values()), words
        assert words == " ".join(words.split()), "no space too many"
    attributes = family.choose(rng, False, 5.0)
    brief = {family.brief_prompt(attributes, rng) for _ in range(300)}
    assert len(brief) > 8
    assert all(words == " ".join(words.split()) for words in brief)
    assert all(any(value not in words for words in brief) for value in attributes.values())
    assert not any(all(value in words for value in attributes.values()) for words in brief)


def test_beats_pass_the_end_and_seen_stays_before_it():
    times = beats(0.2, 0.5, 2.0)
    assert times == pytest.approx((0.2, 0.7, 1.2, 1.7, 2.2))
    assert seen(times, 2.0) == pytest.approx((0.2, 0.7, 1.2, 1.7))
    assert beats(3.0, 0.5, 1.0) == ()


@pytest.mark.parametrize("family", CATALOGUES, ids=lambda family: family.name)
def test_about_a_seventh_is_withheld_and_all_of_it_exists(family: Catalogue):
    combinations = set(family.combinations())
    assert family.withheld <= combinations
    assert 0.10 <= len(family.withheld) / len(combinations) <= 0.20
    trained = combinations - family.withheld
    for place, (key, values) in enumerate(family.attributes.items()):
        assert {combination[place] for combination in trained} == set(values), key


@pytest.mark.parametrize("family", CATALOGUES, ids=lambda family: family.name)
def test_there_are_enough_paraphrases_for_every_combination(family: Catalogue):
    for values in family.combinations():
        attributes = dict(zip(family.attributes, values, strict=True))
        assert len(family.fitting(family.templates, attributes)) >= 8
        assert len(family.fitting(family.brief, attributes)) >= 4
        assert len(family.fitting(family.held_out_templates, attributes)) >= 2


def test_what_a_family_does_not_have_is_refused():
    with pytest.raises(ConfigError, match="ball has no pink . wood; it knows colour: red"):
        ball.FAMILY.plan(0, 5.0, {"colour": "pink", "surface": "wood"})
    with pytest.raises(ConfigError, match="described by colour, surface, not by colour"):
        ball.FAMILY.plan(0, 5.0, {"colour": "red"})
    with pytest.raises(ConfigError, match="weather has no heavy rain"):
        weather.FAMILY.plan(0, 5.0, {"kind": "heavy rain", "scene": "sunset"})


def test_choices_depend_on_the_generator_alone():
    first, second = (ball.FAMILY.choose(random.Random(4), False, 5.0) for _ in range(2))
    assert first == second
