import itertools

import pytest
import torch

from happyhorse.data.scenes import rain, sea
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.weather import FAMILY


def a_plan(kind: str, scene: str, seed: int = 0) -> Plan:
    return FAMILY.plan(seed, 5.0, {"kind": kind, "scene": scene})


def loudness(kind: str, scene: str) -> float:
    return float(FAMILY.sound([a_plan(kind, scene)], 120_000, "cpu").square().mean().sqrt())


def test_rain_falls_on_places_and_the_sea_has_skies():
    assert len(FAMILY.combinations()) == 18
    assert ("light rain", "lake") in FAMILY.combinations()
    assert ("light rain", "sunset") not in FAMILY.combinations()


@pytest.mark.parametrize(("kinds", "scenes"), [(rain.KINDS, rain.PLACES), (sea.KINDS, sea.SKIES)], ids=["rain", "sea"])
def test_each_stronger_weather_is_louder(kinds, scenes):
    for scene in scenes:
        levels = [loudness(kind, scene) for kind in kinds]
        assert all(louder > 1.4 * softer for softer, louder in itertools.pairwise(levels))


def test_a_mixed_batch_keeps_its_order():
    plans = [a_plan("rough sea", "night"), a_plan("light rain", "forest"), a_plan("calm sea", "grey")]
    frames = FAMILY.draw(plans, Canvas(3, 64, 64))
    for row, plan in enumerate(plans):
        torch.testing.assert_close(frames[row], FAMILY.draw([plan], Canvas(3, 64, 64))[0], atol=1e-5, rtol=0)


def test_weather_has_no_single_events():
    assert a_plan("heavy rain", "street").truth.events == ()
