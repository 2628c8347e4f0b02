"""The published models behind the service, tiny, in their authors' own layouts."""

import dataclasses
import io
import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("transformers")

from starlette.testclient import TestClient

from happyhorse.clip import read_recipe
from happyhorse.codecs.images import jpeg
from happyhorse.codecs.media import probe, read_mp4
from happyhorse.errors import DeviceMemoryError, WeightsError
from happyhorse.memory.plan import Room, Stage
from happyhorse.sampling.public import PublicPipeline
from happyhorse.sampling.public_parts import Choice, choose
from happyhorse.sampling.public_request import PublicRequest, make_public_request
from happyhorse.sampling.published import DISTILL
from happyhorse.server import public_makers, pulse
from happyhorse.server.app import create_app
from happyhorse.server.errors import FieldError
from happyhorse.server.offers import PublicOffer, load_offer
from happyhorse.server.orders import Medium, Order, read_order
from happyhorse.server.progress import Track, stages_of
from happyhorse.server.public_makers import Pipelines, what_fits
from happyhorse.server.records import Submission
from happyhorse.server.settings import Settings
from happyhorse.server.wishes import Wish, orders
from happyhorse.server.worker import Worker, makers_of

NAME = "magihuman-distill"
HORSE = {"prompt": "a horse", "model": NAME, "seconds": 1, "size": "64x64", "seed": 3, "num_inference_steps": 2}


@pytest.fixture
def client(public_models: Path, tmp_path: Path) -> TestClient:
    """A service of the foal and both published models; the larger super-resolution model is not here."""
    (public_models / "magihuman-1080p" / "model.safetensors").unlink()
    settings = Settings(folder=tmp_path / "service", models=(NAME, "foal", "magihuman-base"))
    return TestClient(create_app(settings), base_url="http://127.0.0.1")


@pytest.fixture
def work(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Makes everything that waits. Nothing is planned: that takes seconds, and has tests of its own below."""
    monkeypatch.setattr(pulse, "TELL_EVERY", 0.0)
    monkeypatch.setattr(public_makers, "needs", anywhere)
    service = client.app.state.service  # type: ignore[attr-defined]
    worker = Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", False), batch=4)

    def make() -> None:
        while worker.work_once():
            pass

    yield make


def anywhere(choice: Choice, request: PublicRequest, image: bool) -> tuple[Stage, ...]:
    """Stages that fit wherever there is a byte."""
    names = ("text", "image", "generate", "render", "picture", "sound")
    return tuple(Stage(name, (), 1, 1) for name in names if name != "render" or request.large)


def made(client: TestClient, work: Callable[[], None], tmp_path: Path, path: str = "/v1/videos", **fields: Any):
    """What was told of a finished job, and its file."""
    answer = client.post(path, json=fields)
    assert answer.status_code == 200, answer.text
    work()
    job = client.get(f"/v1/videos/{answer.json()['id']}").json()
    assert job["status"] == "completed", job
    file = tmp_path / f"{job['id']}.mp4"
    file.write_bytes(client.get(f"/v1/videos/{job['id']}/content").content)
    return job, file


# ----------------------------------------------------------------------------------------------------------- the way
def test_a_clip_and_its_render_go_the_way_of_all_jobs(client: TestClient, work: Callable, tmp_path: Path) -> None:
    job, file = made(client, work, tmp_path, **HORSE)
    facts = probe(file)
    assert (facts.width, facts.height, facts.fps, facts.sample_rate, facts.channels) == (64, 64, 25, 44_100, 2)
    assert facts.seconds == pytest.approx(1, abs=0.05) and job["model"] == NAME
    assert read_recipe(file) == job["recipe"] and job["recipe"]["steps"] == 2 and job["recipe"]["seed"] == 3
    assert set(job["stage_durations"]) == {"read", "denoise", "picture", "sound", "write"}
    queue = client.app.state.service.queue  # type: ignore[attr-defined]
    told = [(event.data["stage"], event.data["progress"]) for event in queue.events_after(job["id"])]
    steps = [progress for stage, progress in told if stage.startswith("denoise")]
    assert ("denoise 1/2" in dict(told)) and steps == sorted(steps) and steps[0] < 20 < 60 < steps[-1] <= 99

    render, large = made(client, work, tmp_path, f"/v1/videos/{job['id']}/render", size="100x96")
    assert (probe(large).width, probe(large).height, render["size"]) == (96, 96, "96x96")
    assert render["notes"] == ["100x96 is made as 96x96: width and height are multiples of 32"]
    assert np.array_equal(read_mp4(large).audio, read_mp4(file).audio)
    assert render["recipe"]["render"]["steps"] == 5 and render["recipe"]["weights"] == job["recipe"]["weights"]
    told = [event.data["stage"] for event in queue.events_after(render["id"])]
    assert any(stage == "render 3/5" for stage in told)


def test_a_preview_that_is_rendered_in_one_go_is_the_preview(
    client: TestClient, work: Callable, tmp_path: Path
) -> None:
    alone, file = made(client, work, tmp_path, **HORSE)
    service = client.app.state.service  # type: ignore[attr-defined]
    asked = client.post("/v1/videos", json=HORSE).json()["id"]
    order = read_order("generate", service.queue.get(asked).request)
    assert isinstance(order, Order)
    both = dataclasses.replace(order, size="96x96")
    job = service.queue.submit(Submission("generate", NAME, both.to_json()))
    work()
    found = service.queue.get(job.id).result
    assert found["size"] == "96x96" and found["recipe"]["weights"] == alone["recipe"]["weights"]
    large = read_mp4(service.blobs.local_path(found["video"]))
    assert np.array_equal(large.audio, read_mp4(file).audio)
    assert [name for name, _ in stages_of(both)].count("read") == 2


def test_images_and_sounds_are_made_around(client: TestClient, work: Callable, tmp_path: Path) -> None:
    plain, _ = made(client, work, tmp_path, **HORSE)
    service = client.app.state.service  # type: ignore[attr-defined]
    image = service.blobs.put_bytes(jpeg(np.full((90, 60, 3), 90, np.uint8)), "image/jpeg")
    tone = service.blobs.put_bytes(sound(1.3), "audio/wav")
    media = {
        "image": Medium(image.hash, "image/jpeg", image.bytes, 60, 90),
        "audio": Medium(tone.hash, "audio/wav", tone.bytes, seconds=1.3),
    }
    (order,) = orders(Wish("a horse", seed=3, steps=2, media=media), service.offers.find(NAME))
    assert (order.size, order.seconds) == ("288x448", 1.28)
    (small,) = orders(Wish("a horse", size="64x64", seed=3, steps=2, media=media), service.offers.find(NAME))
    job = service.queue.submit(Submission("generate", NAME, small.to_json()))
    work()
    result = service.queue.get(job.id).result
    assert result["recipe"]["image"]["path"] is None and result["recipe"]["audio"]["path"] is None
    assert result["video"] != service.queue.get(plain["id"]).result["video"]
    assert result["notes"] == [] and result["seconds"] == 1.28


def sound(seconds: float) -> bytes:
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1), file.setsampwidth(2), file.setframerate(44_100)
        tone = 9000 * np.sin(np.arange(int(44_100 * seconds)) / 20)
        file.writeframes(tone.astype("<i2").tobytes())
    return written.getvalue()


def test_several_previews_are_made_one_by_one(client: TestClient, work: Callable) -> None:
    asked = client.post("/v1/videos", json={**HORSE, "n": 2}).json()
    work()
    jobs = client.get("/v1/videos", params={"group": asked["group"], "order": "asc"}).json()["data"]
    assert [(job["status"], job["seed"]) for job in jobs] == [("completed", 3), ("completed", 4)]
    assert all("batch" not in job["recipe"] for job in jobs)
    remix = client.post(f"/v1/videos/{asked['id']}/remix", json={"prompt": "a mare", "seed": 9, "n": 2}).json()
    assert [job["seed"] for job in remix["data"]] == [9, 10] and remix["data"][1]["size"] == "64x64"


def test_models_of_both_kinds_take_turns(client: TestClient, work: Callable, tmp_path: Path) -> None:
    first, _ = made(client, work, tmp_path, **HORSE)
    base, _ = made(client, work, tmp_path, **{**HORSE, "model": "magihuman-base", "negative_prompt": "rain"})
    again, _ = made(client, work, tmp_path, **HORSE)
    assert base["recipe"]["negative"] == "rain" and base["recipe"]["weights"] != first["recipe"]["weights"]
    service = client.app.state.service  # type: ignore[attr-defined]
    videos = [service.queue.get(job["id"]).result["video"] for job in (first, base, again)]
    assert videos[0] == videos[2] != videos[1]


# ------------------------------------------------------------------------------------------------------ what is told
def test_models_are_told_with_their_sizes_and_limits(client: TestClient) -> None:
    card, foal, base = client.get("/v1/models").json()["data"]
    assert card["id"] == NAME and card["sizes"] == ["448x256", "256x448", "352x352"]
    assert card["render_options"] == ["540p", "720p"] and "1280x704" in card["render_sizes"]
    assert card["size_limits"] == {
        "multiple_of": 32,
        "side_min": 64,
        "preview_pixels_max": 458_752,
        "render_pixels_max": 921_600,
    }
    assert (card["seconds_min"], card["seconds_max"], card["fps"], card["steps"]) == (1, 15, 25, 8)
    assert card["takes"] == ["image", "audio"] and card["renders"] and card["guidance"] == [1, 1]
    assert (base["steps"], base["guidance"]) == (32, [5, 5]) and foal["size_limits"] is None
    assert set(card) == set(foal)


WRONG = [
    ({"guidance_scale": 3}, "guidance_scale", f"{NAME} takes no guidance_scale"),
    ({"loop": True}, "loop", "takes no loop"),
    ({"video_reference": "https://example.com/a.mp4"}, "video_reference", "takes no video_reference"),
    ({"last_image_reference": "https://example.com/a.png"}, "last_image_reference", "takes no last_image"),
    ({"seconds": 0.5}, "seconds", "1 to 15 s"),
    ({"seconds": 16}, "seconds", "1 to 15 s"),
    ({"fps": 24}, "fps", "25"),
    ({"size": "32x32"}, "size", "at least 64"),
    ({"size": "1920x1088"}, "size", "540p or 720p"),
    ({"size": "4096x2160"}, "size", "2088960 pixels"),
    ({"num_inference_steps": 1001}, "num_inference_steps", "1000"),
    ({"prompt": "horse " * 200}, "prompt", "1199 tokens and the limit is 640"),
    ({"negative_prompt": "horse " * 200}, "negative_prompt", "the negative prompt has 1199 tokens"),
    ({"n": 9}, "n", "1 to 8"),
]


def test_refusals_name_the_field_and_the_limit(client: TestClient) -> None:
    for wrong, field, says in WRONG:
        answer = client.post("/v1/videos", json={**HORSE, **wrong})
        assert answer.status_code == 400, wrong
        error = answer.json()["error"]
        assert error["param"] == field and says in error["message"], (wrong, error)
    assert client.get("/v1/videos").json()["data"] == []


def test_what_these_models_cannot_build_on_is_refused(client: TestClient, work: Callable, tmp_path: Path) -> None:
    job, _ = made(client, work, tmp_path, **HORSE)
    clip = {"video": {"id": job["id"]}, "prompt": "a horse"}
    for path, fields in (("extensions", {}), ("edits", {"generate_sound": True})):
        error = client.post(f"/v1/videos/{path}", json={**clip, **fields}).json()["error"]
        assert (error["param"], error["code"]) == ("video", "not_supported")
    error = client.post(f"/v1/videos/{job['id']}/render", json={"size": "1080p"}).json()["error"]
    assert error["param"] == "size" and "540p or 720p" in error["message"]
    # A preview without its latents cannot be rendered, unlike the foal's.
    service = client.app.state.service  # type: ignore[attr-defined]
    service.blobs.delete(service.queue.get(job["id"]).result["latents"])
    asked = client.post(f"/v1/videos/{job['id']}/render", json={"size": "96x96"}).json()["id"]
    work()
    error = client.get(f"/v1/videos/{asked}").json()["error"]
    assert error["code"] == "invalid_media" and "make it again" in error["message"]


def test_a_dry_run_counts_rows_and_passes(client: TestClient) -> None:
    def seconds(**changes: Any) -> float:
        answer = client.post("/v1/videos", json={**HORSE, "seconds": 5, "size": "16:9", "dry_run": True, **changes})
        return answer.json()["inference_time_s"]

    assert 0 < seconds(num_inference_steps=80) < seconds(num_inference_steps=80, model="magihuman-base")
    assert seconds(num_inference_steps=80) < seconds(num_inference_steps=80, size="1280x704")


def test_the_hosted_dialect_asks_for_what_is_nearest(client: TestClient) -> None:
    def asked(resolution: str, ratio: str = "16:9") -> dict[str, Any]:
        parameters = {"resolution": resolution, "ratio": ratio, "duration": 3, "seed": 7}
        body = {"model": "happyhorse-1.1-t2v", "input": {"prompt": "a horse"}, "parameters": parameters}
        path = "/api/v1/services/aigc/video-generation/video-synthesis"
        answer = client.post(path, json=body, headers={"X-DashScope-Async": "enable"})
        assert answer.status_code == 200, answer.text
        return client.get(f"/api/v1/tasks/{answer.json()['output']['task_id']}").json()["output"]

    assert (asked("480P")["size"], asked("720P")["size"]) == ("448x256", "1280x704")
    assert asked("1080P")["size"] == "1280x704"  # the model for more is not here
    portrait = asked("720P", "3:4")  # of 720p it would have more pixels than the model that is here renders
    assert portrait["model"] == NAME and portrait["size"] == "576x768"
    assert portrait["notes"] == [f"happyhorse-1.1-t2v 720P 3:4 is made by {NAME} as {portrait['size']}"]


# ------------------------------------------------------------------------------------------------------- where it goes
def lent(pipelines: Pipelines, **changes: Any) -> PublicPipeline:
    values = {"seconds": 1, "size": (64, 64), "seed": 1, "steps": 2, **changes}
    request = make_public_request("a horse", DISTILL, **values)
    return pipelines.lend(choose(NAME, request), request, False)


def test_a_pipeline_keeps_what_it_has_read(public_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public_makers, "room_on", lambda device: Room(2**40, 2**40))
    pipelines = Pipelines("cpu")
    first = lent(pipelines)
    with first.turns.use("generate") as network:
        pass
    longer = lent(pipelines, seconds=3, render=(96, 96))
    assert longer is first and first.turns.plan.seat("render").mode == "resident"
    with first.turns.use("render") as enlarger, first.turns.use("generate") as same:
        assert same is network
    with lent(pipelines).turns.use("render") as kept:  # a preview in between forgets nothing
        assert kept is enlarger
    with lent(pipelines, render=(992, 960)).turns.use("render") as other:  # another model does these
        assert other is not enlarger


def test_a_longer_clip_moves_what_is_in_its_way(public_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def needed(choice: Choice, request: PublicRequest, image: bool) -> tuple[Stage, ...]:
        working = {1: 10, 4: 60, 15: 1000}[int(request.shape.seconds)]
        network = Stage("generate", (20 << 20,) * 4, 0, working << 20, 2)
        return network, Stage("text", (), 40 << 20, 1 << 20)

    monkeypatch.setattr(public_makers, "needs", needed)
    monkeypatch.setattr(public_makers, "room_on", lambda device: Room(160 << 20, 2**40))
    pipelines = Pipelines("cpu")

    def modes(**changes: Any) -> list[str]:
        return [seat.mode for seat in lent(pipelines, **changes).turns.plan.seats]

    assert modes() == ["resident", "resident"]
    assert modes(seconds=4) == ["resident", "in turn"]
    assert modes() == ["resident", "in turn"]  # what fits is not moved
    with pytest.raises(DeviceMemoryError, match="are missing"):
        modes(seconds=15)


def test_what_does_not_fit_is_said_in_a_line(public_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = load_offer(NAME)
    assert isinstance(offer, PublicOffer)
    sizes = {None: 10, "1920x1088": 100, "1280x704": 60, "896x512": 40}

    def needed(choice: Choice, request: PublicRequest, image: bool) -> tuple[Stage, ...]:
        size = f"{request.large.width}x{request.large.height}" if request.large else None
        return (Stage("render" if size else "generate", (), 0, sizes[size] << 20),)

    def said(mebibytes: float) -> str:
        monkeypatch.setattr(public_makers, "room_on", lambda device: Room(int(mebibytes * 2**20 / 0.94), 0))
        return what_fits(offer, "cpu")

    monkeypatch.setattr(public_makers, "needs", needed)
    assert said(101) == f"{NAME} on cpu: previews and all renders fit"
    assert said(61).startswith(f"{NAME} on cpu: no renders to 1080p (render needs at least") and "720p" not in said(61)
    assert "no renders to 720p (" in said(11) and "no renders to 540p (" in said(11) and "are missing" in said(11)
    assert said(1).startswith(f"{NAME} on cpu: nothing (generate needs")
    (public_models / "magihuman-1080p" / "model.safetensors").unlink()
    assert "happyhorse pull magihuman-1080p" in said(101)


def test_models_that_are_not_here_are_not_offered(public_models: Path) -> None:
    with pytest.raises(WeightsError, match="makes no clips by itself"):
        load_offer("magihuman-540p")
    (public_models / "magihuman-540p" / "model.safetensors").unlink()
    offer = load_offer(NAME)
    assert isinstance(offer, PublicOffer) and offer.render_options == ("1080p",)
    with pytest.raises(FieldError, match="cannot be rendered here; ask for 1080p"):
        orders(Wish("a horse", size="1280x704"), offer)
    (public_models / "magihuman-1080p" / "model.safetensors").unlink()
    with pytest.raises(FieldError, match="renders nothing here"):
        orders(Wish("a horse", size="1280x704"), load_offer(NAME))
    (public_models / NAME / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=f"happyhorse pull {NAME}"):
        load_offer(NAME)


def test_orders_survive_the_database_and_progress_never_goes_back(public_models: Path) -> None:
    (order,) = orders(Wish("a horse", size="1280x704", seed=3), load_offer(NAME))
    assert Order.from_dict(json.loads(json.dumps(order.to_json()))) == order
    assert (order.preview, order.size, order.shape.fps) == ("448x256", "1280x704", 25)
    track = Track(stages_of(order))
    stages = [("plan", 1), ("read", 1), ("image", 1), ("denoise", 8), ("picture", 4), ("sound", 1), ("write", 1)]
    stages += [("plan", 1), ("read", 1), ("image", 1), ("render", 5), ("picture", 4), ("write", 1)]
    said = [track(stage, done, total) for stage, total in stages for done in range(total + 1)]
    assert said == sorted(said) and said[0] == 0 and said[-1] == 99
    assert len({round(value, 3) for value in said}) > 18
