import math

import pytest
import torch

from happyhorse.data.scenes import shapes
from happyhorse.data.scenes.scene import Canvas

CANVAS = Canvas(frames=2, height=64, width=96)
AREA = shapes.grid(CANVAS)


def test_the_shorter_side_is_two_units_and_the_middle_is_zero():
    assert AREA.pixel == pytest.approx(2 / 64)
    assert AREA.y[0, 0] == pytest.approx(-1 + AREA.pixel / 2)
    assert AREA.x[-1] == pytest.approx(1.5 - AREA.pixel / 2)
    assert AREA.x.mean() == pytest.approx(0, abs=1e-6)


def covered(sdf: torch.Tensor) -> float:
    """Area in square units."""
    return float(shapes.coverage(sdf, AREA.pixel).sum()) * AREA.pixel**2


@pytest.mark.parametrize(
    ("sdf", "area"),
    [
        (shapes.circle(AREA, 0.1, -0.1, 0.5), math.pi * 0.25),
        (shapes.ellipse(AREA, 0.0, 0.1, 0.7, 0.3), math.pi * 0.21),
        (shapes.capsule(AREA, -0.5, 0.0, 0.5, 0.0, 0.2), 0.4 + math.pi * 0.04),
        (shapes.rounded_box(AREA, 0.2, 0.0, 0.6, 0.4, 0.1), 0.96 - (4 - math.pi) * 0.01),
        (shapes.difference(shapes.circle(AREA, 0, 0, 0.5), shapes.circle(AREA, 0, 0, 0.3)), math.pi * 0.16),
    ],
    ids=["circle", "ellipse", "capsule", "box", "ring"],
)
def test_shapes_cover_their_area(sdf: torch.Tensor, area: float):
    assert covered(sdf) == pytest.approx(area, rel=0.02)


def test_distances_are_exact_outside():
    assert shapes.circle(AREA, 0.0, 0.0, 0.25)[0, 0] == pytest.approx(math.hypot(AREA.x[0], AREA.y[0, 0]) - 0.25)
    steps = shapes.capsule(AREA, -0.5, 0.0, 0.5, 0.0, 0.1)[:20, 48].diff()
    assert torch.allclose(steps, torch.full_like(steps, -AREA.pixel), atol=1e-5)


def test_a_smooth_union_covers_both_and_fills_the_notch():
    first, second = shapes.circle(AREA, -0.3, 0.0, 0.35), shapes.circle(AREA, 0.3, 0.0, 0.35)
    melted = shapes.smooth_union(first, second, 0.3)
    assert (melted <= shapes.union(first, second) + 1e-6).all()
    assert covered(melted) > covered(shapes.union(first, second)) + 0.01


def test_a_window_paints_what_the_whole_grid_paints():
    whole, part = (torch.zeros(2, 3, 2, 64, 96) for _ in range(2))
    x = torch.tensor([-0.4, 0.5])[:, None, None, None]
    red = torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3)
    shapes.paint(whole, shapes.circle(AREA, x, 0.9, 0.3), red, AREA)
    window = AREA.window(x - 0.3, 0.6, x + 0.3, 1.2)
    shapes.paint(part, shapes.circle(window, x, 0.9, 0.3), red, window)
    assert torch.equal(whole, part)
    assert whole.sum() > 0
    assert len(window.y) * len(window.x) < 0.25 * 64 * 96


def test_a_window_off_the_canvas_is_empty():
    window = AREA.window(3.0, 0.0, 4.0, 0.5)
    image = torch.zeros(1, 3, 2, 64, 96)
    shapes.paint(image, shapes.circle(window, 3.5, 0.2, 0.4), shapes.rgb("#ffffff"), window)
    assert image.sum() == 0


def test_painting_has_the_colour_inside_and_soft_edges():
    image = torch.zeros(1, 3, 2, 64, 96)
    shapes.paint(image, shapes.circle(AREA, 0.0, 0.0, 0.5), shapes.rgb("#ff8000"), AREA)
    assert image[0, :, 0, 32, 48].tolist() == pytest.approx([1.0, 128 / 255, 0.0])
    edge = (image[0, 0, 0] > 0) & (image[0, 0, 0] < 1)
    assert 20 < int(edge.sum()) < 200


def test_gradients_run_from_the_first_colour_to_the_last():
    colours = shapes.vertical(AREA, [(-1.0, shapes.rgb("#000000")), (1.0, shapes.rgb("#ffffff"))])
    assert colours.shape == (1, 3, 1, 64, 1)
    assert (colours.diff(dim=3) >= 0).all()
    assert float(colours[0, 0, 0, 0, 0]) < 0.01 < 0.99 < float(colours[0, 0, 0, -1, 0])


def test_shadows_darken_below_things_only():
    image = torch.ones(1, 3, 2, 64, 96)
    shapes.shadow(image, 0.0, 0.5, 0.4, 0.1, AREA, 0.5)
    assert image[0, 0, 0, 47, 48] < 0.6
    assert image[0, 0, 0, 20, 48] == 1
