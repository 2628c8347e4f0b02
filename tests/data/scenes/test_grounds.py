import pytest
import torch

from happyhorse.data.scenes import grounds, shapes
from happyhorse.data.scenes.scene import Canvas

CANVAS = Canvas(1, 64, 64)
NAMES = ("wood", "metal", "stone", "grass", "gravel", "cobbles", "snow")
SCROLLING = ("wood", "grass", "gravel", "cobbles", "snow")


def laid(name: str, scroll: float) -> torch.Tensor:
    image = torch.zeros(1, 3, 1, 64, 64)
    grounds.lay(image, [0], name, CANVAS, torch.full((1, 1, 1, 1), scroll))
    return image[0, :, 0]


@pytest.mark.parametrize("name", NAMES)
def test_a_ground_covers_what_is_below_the_horizon(name: str):
    image = laid(name, 0.0)
    horizon = (grounds.HORIZON + 1) * 32
    assert image[:, : int(horizon)].sum() == 0
    assert image[:, int(horizon) + 1 :].min() > 0.05


@pytest.mark.parametrize("name", SCROLLING)
def test_patterns_repeat_after_two_tiles(name: str):
    torch.testing.assert_close(laid(name, 0.1), laid(name, 0.1 + 2 * grounds.TILE), atol=1e-3, rtol=0)
    assert (laid(name, 0.1) - laid(name, 0.1 + grounds.TILE / 2)).abs().mean() > 0.003


@pytest.mark.parametrize("name", SCROLLING)
def test_the_ground_moves_left_by_the_scroll_at_the_feet(name: str):
    wide = Canvas(1, 64, 256)
    area = shapes.grid(wide)
    shift = 8
    before, after = (
        grounds.surface(name, area, wide, torch.full((1, 1, 1, 1), scroll)) for scroll in (0.0, shift * area.pixel)
    )
    feet = int((area.y[:, 0] - grounds.FEET).abs().argmin())
    error = (before[..., feet, shift:] - after[..., feet, :-shift]).abs().mean()
    still = (before[..., feet, :] - after[..., feet, :]).abs().mean()
    assert error < 0.35 * still


@pytest.mark.parametrize(
    "names", [("wood", "metal", "stone"), ("grass", "gravel", "cobbles"), ("gravel", "snow", "wood")]
)
def test_the_grounds_of_a_family_differ_in_colour(names: tuple[str, ...]):
    means = torch.stack([laid(name, 0.0)[:, 44:].mean(dim=(1, 2)) for name in names])
    assert torch.pdist(means).min() > 0.1
