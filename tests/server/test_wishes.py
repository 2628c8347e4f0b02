import dataclasses
import itertools
import json
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.sampling.request import SEED_MAX, Sampling, make_request
from happyhorse.server.errors import FieldError
from happyhorse.server.forms import Render
from happyhorse.server.offers import Offer, Offers, load_offer
from happyhorse.server.orders import Medium, Order, RenderOrder, read_order
from happyhorse.server.progress import Track, stage_parts, stage_text, stages_of, windows
from happyhorse.server.wishes import Wish, orders, render_order

HASH = "0" * 64


@pytest.fixture(scope="module")
def foal() -> Offer:
    return load_offer("foal")


def image(width: int = 160, height: int = 96) -> Medium:
    return Medium(HASH, "image/png", 10, width, height)


def film(seconds: float) -> Medium:
    return Medium(HASH, "video/mp4", 10, 128, 128, seconds)


def test_an_order_is_complete_and_asks_the_model_for_the_same(foal: Offer) -> None:
    (order,) = orders(Wish(" a ball ", seed=7), foal)
    expected = make_request(foal.sampling, "a ball", seed=7)
    assert order.request() == expected
    assert (order.size, order.preview, order.seconds) == ("128x128", "128x128", foal.sampling.seconds)
    assert Order.from_dict(json.loads(json.dumps(order.to_json()))) == order


def test_a_size_is_a_preview_a_render_or_an_aspect(foal: Offer) -> None:
    def made(**wish) -> tuple[str, str]:
        (order,) = orders(Wish("a ball", **wish), foal)
        return order.preview, order.size

    assert made(size="16:9") == ("160x96", "160x96")
    assert made(size="640x384") == ("160x96", "640x384")
    assert made(size=foal.hosted("1080P", 1.0)) == ("128x128", "512x512")
    assert made(media={"image": image(90, 160)}) == ("96x160", "96x160")
    plain = dataclasses.replace(foal, enlarging=None)
    with pytest.raises(FieldError, match="nearest size is 128x128") as refused:
        orders(Wish("a ball", size="512x512"), plain)
    assert refused.value.field == "size"


def test_seeds_follow_each_other_and_are_drawn_where_none_is_given(foal: Offer) -> None:
    assert [order.seed for order in orders(Wish("a ball", seed=5, count=3), foal)] == [5, 6, 7]
    drawn = orders(Wish("a ball", count=8), foal)
    assert all(0 <= order.seed <= SEED_MAX for order in drawn)
    with pytest.raises(FieldError, match="goes past"):
        orders(Wish("a ball", seed=SEED_MAX, count=2), foal)


def test_a_film_or_a_sound_says_how_long_the_clip_is(foal: Offer) -> None:
    (order,) = orders(Wish("a ball", media={"video": film(1.26)}), foal)
    assert order.seconds == 30 / 24
    with pytest.raises(FieldError, match=r"lasts 1\.00 s") as refused:
        orders(Wish("a ball", media={"video": film(1.0)}, seconds=2), foal)
    assert refused.value.field == "seconds"
    (order,) = orders(Wish("a ball", media={"audio": dataclasses.replace(film(99.0), width=0, height=0)}), foal)
    assert order.seconds == foal.sampling.seconds_max


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"media": {"video": film(2), "audio": film(2)}}, "audio_reference"),
        ({"media": {"video": film(2), "image": image()}}, "video_reference"),
        ({"media": {"video": film(2)}, "loop": True}, "loop"),
        ({"loop": True, "seconds": 1}, "seconds"),
        ({"start": film(2), "media": {"image": image()}}, "video"),
        ({"start": film(59), "seconds": 2}, "seconds"),
        ({"start": film(2), "size": "512x512"}, "size"),
        ({"media": {"video": film(2)}, "size": "512x512"}, "size"),
        ({"guidance": (1.0, 99.0)}, "guidance_scale"),
        ({"negative_prompt": "x" * 5001}, "negative_prompt"),
        ({"prompt": "ball " * 300}, "prompt"),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(foal: Offer, wish: dict, field: str) -> None:
    with pytest.raises(FieldError) as refused:
        orders(Wish(**{"prompt": "a ball", **wish}), foal)
    assert refused.value.field == field and "--" not in str(refused.value)


def test_notes_say_what_is_asked_for_in_vain(foal: Offer) -> None:
    (order,) = orders(Wish("a dragon", negative_prompt="blur"), foal)
    assert any("negative prompt" in note for note in order.notes) and any("dragon" in note for note in order.notes)
    assert orders(Wish("a red ball bounces on wood"), foal)[0].notes == ()


def test_a_render_is_ordered_once_of_what_was_made(foal: Offer) -> None:
    (order,) = orders(Wish("a ball", seed=7, media={"image": image()}), foal)
    result = {"video": HASH, "latents": HASH, "seconds": 5.0}
    render = render_order(order.to_json(), result, "video_1", foal, Render())
    assert (render.size, render.seed, render.source, render.latents) == ("640x384", 7, "video_1", HASH)
    assert render.image == image().to_dict() and RenderOrder.from_dict(render.to_json()) == render
    for wrong in (render.to_json(), orders(Wish("a ball", media={"video": film(2)}), foal)[0].to_json()):
        with pytest.raises(FieldError):
            render_order(wrong, result, "video_1", foal, Render())


def test_orders_of_another_version_are_refused(foal: Offer) -> None:
    request = {**orders(Wish("a ball"), foal)[0].to_json(), "later": 1}
    with pytest.raises(ValueError, match="another version"):
        read_order("generate", request)


def test_models_are_found_by_name(foal: Offer, tiny_model: Path) -> None:
    offers = Offers.load(["foal", "foal-base", str(tiny_model)])
    assert offers.names == ["foal", "foal-base", "tiny"] and offers.default.name == "foal"
    assert offers.find(None).name == "foal" and offers.find("tiny").sampling.steps == 2
    with pytest.raises(ValueError, match="'other' is not served here; models are foal"):
        offers.find("other")
    assert isinstance(offers.find("foal-base").sampling, Sampling)


# ----------------------------------------------------------------------------------------------------------- progress
def test_progress_grows_with_every_step_and_never_goes_back(foal: Offer) -> None:
    (order,) = orders(Wish("a ball", size="512x512", seconds=2), foal)
    track = Track(stages_of(order))
    clip = [("read", 1), ("denoise", 8), ("picture", 1), ("sound", 1), ("write", 1)]
    said = [track(stage, done, total) for stage, total in clip for done in range(total + 1)]
    said += [track(s, d, t) for s, t in (("enlarge", 1), ("render", 5), ("picture", 4)) for d in range(t + 1)]
    assert said == sorted(said) and said[0] == 0 and 90 < track("write", 1, 1) <= 99
    assert len({round(value, 3) for value in said}) > 16


def test_each_window_of_a_longer_clip_is_a_part_of_the_way(foal: Offer) -> None:
    (order,) = orders(Wish("a ball", start=film(5.0), seconds=8), foal)
    count = windows(order)
    track, said = Track(stages_of(order)), []
    for _ in range(count):
        said += [track(stage, done, 1) for stage in ("read", "denoise", "picture", "sound") for done in (0, 1)]
    assert count == 4 and said == sorted(said) and said[-1] > 90
    steps = [after - before for before, after in itertools.pairwise(said)]
    assert max(steps) < 100 / count


def test_stages_are_said_with_their_steps() -> None:
    for stage in (("denoise", 3, 8), ("read", None, None)):
        text = stage_text(stage[0], stage[1] or 0, stage[2] or 1)
        assert stage_parts(text) == stage
    assert stage_parts("") == (None, None, None)
