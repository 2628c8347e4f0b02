"""The suites: what they hold, that they are what their hashes say, and that training has none of it."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from happyhorse.data.scenes.sentences import held_out_sentences
from happyhorse.data.scenes.world import DRILLS, FAMILIES
from happyhorse.errors import ConfigError
from happyhorse.evaluation import suites
from happyhorse.evaluation.suites import HASHES, SIZES, load_suite, make_suite, write_suite


@pytest.mark.parametrize("name", HASHES)
def test_a_suite_has_as_many_cases_of_each_family_and_half_of_them_held_out(name: str):
    suite = load_suite(name)
    per_family, size = SIZES[name]
    assert Counter(case["family"] for case in suite.cases) == dict.fromkeys(FAMILIES, per_family)
    held_out = Counter(case["family"] for case in suite.cases if FAMILIES[case["family"]].held_out(case["attributes"]))
    assert held_out == dict.fromkeys(FAMILIES, per_family // 2)
    assert suite.size == size == make_suite(name).size
    assert len({(case["family"], case["seed"]) for case in suite.cases}) == len(suite.cases)


@pytest.mark.parametrize("name", HASHES)
def test_plans_show_what_the_prompts_ask_for(name: str):
    for case, row in zip(load_suite(name).plans(), load_suite(name).cases, strict=True):
        assert case.plan.family == row["family"] and case.plan.seconds == 5.0
        assert case.plan.attributes == row["attributes"]
        assert all(value in case.prompt for value in case.plan.attributes.values())


def test_pictures_of_other_aspects_are_asked_for_with_the_same_words():
    assert load_suite("foal-wide").cases == load_suite("foal-tall").cases == load_suite("foal-quick").cases


def test_training_has_none_of_the_prompts_and_none_of_what_is_held_out():
    rng = random.Random(0)
    cases = load_suite("foal-full").cases
    asked = {case["prompt"] for case in cases}
    for family in (*FAMILIES.values(), *DRILLS.values()):
        mine = [case["attributes"] for case in cases if case["family"] == family.name]
        secret = [tuple(values.values()) for values in mine if family.held_out(values)]
        for _ in range(3000):
            chosen = family.choose(rng, False, 5.0)
            assert tuple(chosen.values()) not in secret
            assert chosen.get("sentence") not in held_out_sentences(chosen.get("language", "English"))
            assert family.prompt(chosen, rng) not in asked and family.brief_prompt(chosen, rng) not in asked
        for values in mine:
            assert not {family.prompt(values, rng) for _ in range(60)} & asked


def test_a_changed_or_unknown_suite_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="suite 'pony' is unknown; known are foal-quick, foal-wide"):
        load_suite("pony")
    monkeypatch.setitem(suites.HASHES, "foal-quick", "0" * 64)
    with pytest.raises(ConfigError, match="foal-quick was changed"):
        load_suite("foal-quick")


def test_a_suite_is_written_as_it_was_read(tmp_path):
    suite = load_suite("foal-quick")
    assert write_suite(suite, tmp_path) == HASHES["foal-quick"]
    assert hashlib.sha256((tmp_path / "foal-quick.json").read_bytes()).hexdigest() == HASHES["foal-quick"]
