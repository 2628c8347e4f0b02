import pytest
import torch

from happyhorse.data.scenes import grounds
from happyhorse.data.scenes.ball import COLOURS, FAMILY, impact_strength, trajectory
from happyhorse.data.scenes.scene import Canvas, Plan
from happyhorse.data.scenes.shapes import rgb


def a_plan(seed: int, colour: str = "red", surface: str = "wood") -> Plan:
    return FAMILY.plan(seed, 5.0, {"colour": colour, "surface": surface})


def test_the_ball_touches_the_ground_at_its_events_and_only_then():
    canvas = Canvas(120, 64, 64)
    for seed in range(5):
        plan = a_plan(seed)
        _, height, squash = (value[0, :, 0, 0] for value in trajectory([plan], canvas))
        time = torch.arange(120) / 24
        away = (time[:, None] - torch.tensor(plan.motion["times"])).abs().amin(1)
        inside = (time > plan.truth.events[0]) & (time < plan.truth.events[-1])
        order = away[inside].argsort()
        assert (height[inside][order].diff() >= -1e-4).all(), "the nearer to an impact, the lower"
        assert (squash[inside][order].diff() <= 1e-4).all()


def test_free_flight_has_constant_gravity():
    _, height, _ = trajectory([a_plan(3)], Canvas(240, 32, 32))
    bend = height[0, :, 0, 0].diff(n=2) * 24**2
    falling = bend[bend < 0]
    assert falling.median() == pytest.approx(-11.0, rel=0.01)


def test_the_drawn_ball_is_lowest_in_the_frames_next_to_events():
    plan = a_plan(1, "blue")
    frames = FAMILY.draw([plan], Canvas(121, 64, 64))[0]
    blue = (frames - rgb(COLOURS["blue"])[:, None, None, None]).abs().sum(0) < 0.6
    rows = torch.arange(64)[:, None]
    bottom = (blue * rows).flatten(1).amax(1)
    ground = (grounds.FEET + 1) * 32
    for time in plan.truth.events:
        frame = round(time * 24)
        assert bottom[frame] >= bottom[max(frame - 3, 0) : frame + 4].max() - 1
        assert abs(float(bottom[frame]) - ground) < 4
    assert bottom.float().min() < ground - 6


def test_slower_bounces_rise_higher_and_sound_louder():
    assert impact_strength(0.9) == pytest.approx(2 * impact_strength(0.45)) == pytest.approx(1.0)
    plans = sorted((a_plan(seed) for seed in range(6)), key=lambda plan: plan.motion["period"])
    peaks = FAMILY.sound(plans, 120_000, "cpu").abs().amax(1)
    assert (peaks.diff() > 0).all()


@pytest.mark.parametrize("colour", COLOURS)
def test_the_ball_has_the_colour_that_was_asked_for(colour: str):
    plan = a_plan(2, colour)
    canvas = Canvas(1, 64, 64)
    x, height, squash = (float(value[0, 0, 0, 0]) for value in trajectory([plan], canvas))
    row, column = round((grounds.FEET - height - 0.26 * (1 - 0.2 * squash) + 1) * 32), round((x + 1) * 32)
    seen = FAMILY.draw([plan], canvas)[0, :, 0, row, column]
    codes = torch.stack([rgb(code) for code in COLOURS.values()])
    assert list(COLOURS)[int((codes - seen).square().sum(1).argmin())] == colour


def test_surfaces_look_different():
    still = [
        FAMILY.draw([a_plan(0, "red", surface)], Canvas(1, 64, 64))[0, :, 0, 44:] for surface in grounds_of_balls()
    ]
    means = torch.stack([picture.mean(dim=(1, 2)) for picture in still])
    assert torch.pdist(means).min() > 0.1


def grounds_of_balls() -> tuple[str, ...]:
    return FAMILY.attributes["surface"]
