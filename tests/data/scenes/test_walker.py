import pytest
import torch

from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.shapes import rgb
from happyhorse.data.scenes.walker import CLOTHES, FAMILY


def test_steps_come_evenly():
    plan = FAMILY.plan(0, 5.0, {"clothes": "red", "ground": "gravel"})
    gaps = torch.tensor(plan.truth.events, dtype=torch.float64).diff()
    assert torch.allclose(gaps, torch.tensor(plan.motion["step"], dtype=torch.float64))
    assert 0.45 <= plan.motion["step"] <= 0.65


@pytest.mark.parametrize("clothes", CLOTHES)
def test_the_jacket_has_the_colour_that_was_asked_for(clothes: str):
    frames = FAMILY.draw([FAMILY.plan(3, 1.0, {"clothes": clothes, "ground": "wood"})], Canvas(5, 64, 64))[0]
    jacket = frames[:, 0, 22:30, 30:34].mean(dim=(1, 2))
    codes = torch.stack([rgb(code) for code in CLOTHES.values()])
    assert list(CLOTHES)[int((codes - jacket).square().sum(1).argmin())] == clothes


def test_feet_are_farthest_apart_when_a_heel_strikes():
    plan = FAMILY.plan(2, 5.0, {"clothes": "blue", "ground": "snow"})
    frames = FAMILY.draw([plan], Canvas(120, 64, 64))[0]
    dark = frames[:, :, 46:52].sum(0) < 0.9
    columns = torch.arange(64)
    spread = torch.stack([span(columns[row.any(0)]) for row in dark])
    at_events = torch.stack([spread[round(time * 24)] for time in plan.truth.events])
    between = torch.stack([spread[round((time + plan.motion["step"] / 2) * 24)] for time in plan.truth.events[:-1]])
    assert at_events.float().mean() > between.float().mean() + 4


def span(columns: torch.Tensor) -> torch.Tensor:
    return columns.max() - columns.min() if len(columns) else torch.tensor(0)
