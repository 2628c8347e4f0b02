import pytest
import torch

from happyhorse.data.scenes.horse import COATS, FAMILY
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.shapes import rgb


def test_two_beats_to_a_stride():
    plan = FAMILY.plan(0, 5.0, {"coat": "brown", "ground": "grass"})
    gaps = torch.tensor(plan.truth.events, dtype=torch.float64).diff()
    assert torch.allclose(gaps, torch.tensor(plan.motion["stride"] / 2, dtype=torch.float64))
    assert len(plan.truth.events) >= 16


def test_the_picture_repeats_with_the_stride_but_for_the_hills():
    plan = FAMILY.plan(0, 5.0, {"coat": "brown", "ground": "cobbles"})
    plan = type(plan)(**{**vars(plan), "motion": {**plan.motion, "stride": 0.5, "first": 0.25}})
    frames = FAMILY.draw([plan], Canvas(25, 64, 64))[0]
    below_hills = frames[:, :, 44:]
    torch.testing.assert_close(below_hills[:, 0], below_hills[:, 12], atol=0.02, rtol=0)
    assert (below_hills[:, 0] - below_hills[:, 3]).abs().mean() > 0.01


@pytest.mark.parametrize("coat", COATS)
def test_the_trunk_has_the_coat_that_was_asked_for(coat: str):
    frames = FAMILY.draw([FAMILY.plan(1, 1.0, {"coat": coat, "ground": "grass"})], Canvas(5, 64, 64))[0]
    trunk = frames[:, 2, 28:32, 26:34].mean(dim=(1, 2))
    codes = torch.stack([rgb(code) for code in COATS.values()])
    assert list(COATS)[int((codes - trunk).square().sum(1).argmin())] == coat
