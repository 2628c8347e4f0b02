import pytest
import torch

from happyhorse.data.scenes import rain
from happyhorse.data.scenes.scene import Canvas
from happyhorse.data.scenes.weather import FAMILY


@pytest.mark.parametrize("kind", rain.KINDS)
def test_streaks_repeat_after_whole_latent_frames(kind: str):
    period = round(rain.KINDS[kind].period * 24)
    assert period % 4 == 0
    plan = FAMILY.plan(0, 5.0, {"kind": kind, "scene": "forest"})
    frames = rain.draw([plan], kind, Canvas(2 * period + 1, 64, 64))[0]
    torch.testing.assert_close(frames[:, 0], frames[:, period], atol=2e-3, rtol=0)
    assert (frames[:, 0] - frames[:, period // 2]).abs().max() > 0.1


def test_heavy_rain_is_darker_and_has_more_streaks():
    still, moving = {}, {}
    for kind in rain.KINDS:
        plan = FAMILY.plan(1, 1.0, {"kind": kind, "scene": "street"})
        frames = rain.draw([plan], kind, Canvas(9, 64, 64))[0]
        still[kind], moving[kind] = frames.mean(), frames[:, :, :40].std(dim=1).mean()
    assert still["heavy rain"] < 0.85 * still["light rain"]
    assert moving["heavy rain"] > 2 * moving["light rain"]


def test_only_wet_ground_has_rings():
    for place, rings in (("lake", True), ("forest", False)):
        plan = FAMILY.plan(1, 1.0, {"kind": "light rain", "scene": place})
        frames = rain.draw([plan], "light rain", Canvas(25, 128, 128))[0]
        x, y = 0.35, 0.5
        spot = frames[:, :, round((y + 1) * 64) - 3 : round((y + 1) * 64) + 4, round((x + 1) * 64) - 8 :][..., :16]
        change = (spot.amax(1) - spot.amin(1)).mean()
        assert (change > 0.1) == rings
