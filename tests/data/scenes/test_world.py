import random
import re

import pytest
import torch

from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.world import FAMILIES, SHARES, prompt, render, sample_plan
from happyhorse.errors import ConfigError

SHORT = Canvas(frames=13, height=64, width=64)
FOLEY = ("ball", "horse", "walker")


def some_plans(count: int = 2, seconds: float = 0.5, seed: int = 0) -> list[Plan]:
    return [sample_plan(seed + number, seconds, family=name) for name in FAMILIES for number in range(count)]


def test_the_same_seed_gives_the_same_scene():
    assert sample_plan(7, 5.0) == sample_plan(7, 5.0)
    first, second = (render(some_plans(1), SHORT) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_another_seed_gives_another_scene():
    for name in FAMILIES:
        one, other = (sample_plan(seed, 5.0, family=name) for seed in (1, 2))
        assert one.motion != other.motion


def test_a_mixed_batch_holds_what_single_renders_give():
    plans = random.Random(3).sample(some_plans(), k=10)
    frames, waves = render(plans, SHORT)
    for row, plan in enumerate(plans):
        frame, wave = render([plan], SHORT)
        torch.testing.assert_close(frames[row], frame[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(waves[row], wave[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*FOLEY, "weather"])  # talkers read their speech on the CPU and move it
def test_everything_is_made_on_the_device_that_was_asked_for(name: str):
    plans = [sample_plan(seed, 0.5, family=name) for seed in range(8)]
    with torch.device("meta"):  # what forgets its device lands here, and cannot be mixed with the rest
        frames, waves = render(plans, Canvas(3, 32, 32, device="cpu"))
    assert frames.device.type == waves.device.type == "cpu"


def test_frames_and_sound_have_their_shapes_and_ranges():
    frames, waves = render(some_plans(), SHORT)
    assert frames.shape == (10, 3, 13, 64, 64)
    assert waves.shape == (10, 13_000)
    assert frames.min() >= 0
    assert frames.max() <= 1
    assert waves.abs().max() < 1
    assert frames.diff(dim=2).abs().mean(dim=(1, 2, 3, 4)).min() > 1e-4, "every scene moves"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_large_picture_shrinks_to_the_small_one(name: str):
    plans = [sample_plan(seed, 0.5, family=name) for seed in range(3)]
    small, _ = render(plans, Canvas(5, 64, 64))
    large, _ = render(plans, Canvas(5, 256, 256))
    shrunk = large.unflatten(3, (64, 4)).unflatten(5, (64, 4)).mean(dim=(4, 6))
    assert (small - shrunk).abs().mean() < 0.01
    assert (small - shrunk).square().mean() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96)])
def test_other_aspects_show_the_square_scene_in_their_middle(height: int, width: int):
    plans = some_plans(1)
    wide, _ = render(plans, Canvas(5, height, width))
    square, _ = render(plans, Canvas(5, 96, 96))
    top, left = (height - 96) // 2, (width - 96) // 2
    middle = wide[..., top : top + 96, left : left + 96]
    assert (middle - square).abs().mean() < 0.01


@pytest.mark.parametrize("name", FOLEY)
def test_every_event_is_heard_when_it_happens(name: str):
    for seed in range(6):
        plan = sample_plan(seed, 5.0, family=name)
        wave = FAMILIES[name].sound([plan], 120_000, "cpu")[0]
        assert len(plan.truth.events) == len(plan.truth.strengths) >= 5
        for time in plan.truth.events:
            at = round(time * 24_000)
            before, after = wave[at - 240 : at].square().mean(), wave[at : at + 240].square().mean()
            assert after > 4 * before, f"{plan.attributes} at {time:.3f} s"


@pytest.mark.parametrize("name", FOLEY)
def test_nothing_is_heard_where_nothing_happens(name: str):
    for seed in range(4):
        plan = sample_plan(seed, 5.0, family=name)
        wave = FAMILIES[name].sound([plan], 120_000, "cpu")[0]
        assert wave[: round(plan.truth.events[0] * 24_000) - 1].abs().max() < 0.01


@pytest.mark.parametrize("name", FAMILIES)
def test_training_never_sees_what_is_held_out(name: str):
    family = FAMILIES[name]
    trained = [sample_plan(seed, 5.0, family=name).attributes for seed in range(300)]
    held_out = [sample_plan(seed, 5.0, "held_out", name).attributes for seed in range(60)]
    assert not any(family.held_out(attributes) for attributes in trained)
    assert all(family.held_out(attributes) for attributes in held_out)
    for key in set(family.attributes) - {"sentence"}:
        assert {attributes[key] for attributes in trained} == set(family.attributes[key]), key


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_prompts_name_every_attribute(name: str, split: str):
    rng = random.Random(0)
    for seed in range(100):
        plan = sample_plan(seed, 5.0, family=name)
        words = prompt(plan, rng, split)
        for value in plan.attributes.values():
            assert all(re.search(rf"\b{re.escape(part)}", words) for part in value.split()), (value, words)
        assert not re.search(r"\ba [aeiou]|[{}]", words.split('"')[0]), words


@pytest.mark.parametrize("name", FAMILIES)
def test_held_out_phrasings_are_never_used_in_training(name: str):
    plan, rng = sample_plan(0, 5.0, family=name), random.Random(0)
    trained = {prompt(plan, rng) for _ in range(300)}
    held_out = {prompt(plan, rng, "held_out") for _ in range(100)}
    assert len(trained) >= 8
    assert len(held_out) >= 2
    assert not trained & held_out


def test_families_come_in_their_shares():
    counts = dict.fromkeys(FAMILIES, 0)
    for seed in range(1000):
        counts[sample_plan(seed, 1.0).family] += 1
    assert sum(SHARES.values()) == pytest.approx(1)
    for name, share in SHARES.items():
        assert counts[name] / 1000 == pytest.approx(share, abs=0.05)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="no family cat; there are ball"):
        sample_plan(0, 5.0, family="cat")
    with pytest.raises(ConfigError, match="no split test; there are train"):
        sample_plan(0, 5.0, split="test")
