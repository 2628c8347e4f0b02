import pytest
import torch

from happyhorse.data.scenes import landscape, shapes
from happyhorse.data.scenes.scene import Canvas

CANVAS = Canvas(frames=24, height=64, width=96)
OUTDOORS = (landscape.fields, landscape.park, landscape.winter)


def view(background, start: float = 0.2) -> torch.Tensor:
    return background(shapes.grid(CANVAS), CANVAS, 1, torch.full((1, 1, 1, 1), start))[0]


@pytest.mark.parametrize("background", OUTDOORS)
def test_hills_pass_slowly_under_a_still_sky(background):
    frames = view(background)
    assert frames.shape == (3, 24, 64, 96)
    assert torch.equal(frames[:, 0, :20], frames[:, -1, :20])
    change = (frames[:, 0] - frames[:, -1]).abs().mean()
    assert 1e-4 < change < 0.03


def test_a_room_stands_still():
    frames = view(landscape.room)
    assert torch.equal(frames[:, 0], frames[:, -1])


def test_backgrounds_differ():
    means = torch.stack([view(background).mean(dim=(1, 2, 3)) for background in (*OUTDOORS, landscape.room)])
    assert torch.pdist(means).min() > 0.03
