import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.clip import read_recipe
from happyhorse.codecs.images import jpeg
from happyhorse.server.app import create_app
from happyhorse.server.inspection import Facts
from happyhorse.server.settings import Settings
from happyhorse.server.worker import Worker, makers_of

BALL = {"prompt": "a red ball bounces on wood", "seconds": "2", "size": "128x128", "seed": 7}


def serving(folder: Path) -> TestClient:
    app = create_app(Settings(folder=folder, stub=True, queue_max=20, sync_seconds=0.3))
    return TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with serving(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server for requests that leave nothing behind."""
    with serving(tmp_path_factory.mktemp("refusing")) as opened:
        yield opened


@pytest.fixture
def work(client: TestClient) -> Callable[[], None]:
    """Makes everything that waits, with stub clips."""
    service = client.app.state.service  # type: ignore[attr-defined]
    worker = Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", True))

    def make() -> None:
        while worker.work_once():
            pass

    return make


def refused(answer, field: str | None, status: int = 400) -> str:
    """The message of a refusal of that field."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["param"] == field and error["message"] and error["code"], error
    return error["message"]


def test_a_clip_is_submitted_made_and_downloaded(client: TestClient, work: Callable, tmp_path: Path) -> None:
    asked = client.post("/v1/videos", json=BALL).json()
    assert (asked["object"], asked["status"], asked["progress"]) == ("video", "queued", 0)
    assert (asked["prompt"], asked["seconds"], asked["size"], asked["seed"]) == (BALL["prompt"], "2", "128x128", 7)
    assert refused(client.get(f"/v1/videos/{asked['id']}/content"), None, 404).startswith(asked["id"])
    work()
    made = client.get(f"/v1/videos/{asked['id']}").json()
    assert (made["status"], made["progress"], made["error"]) == ("completed", 100, None)
    assert made["media_type"] == "video/mp4" and made["peak_memory_mb"] > 0 and "write" in made["stage_durations"]
    film = client.get(f"/v1/videos/{asked['id']}/content")
    assert film.headers["content-type"] == "video/mp4" and len(film.content) == made["bytes"]
    (tmp_path / "clip.mp4").write_bytes(film.content)
    assert read_recipe(tmp_path / "clip.mp4")["seed"] == 7
    part = client.get(f"/v1/videos/{asked['id']}/content", headers={"Range": "bytes=2-5"})
    assert part.status_code == 206 and part.content == film.content[2:6]
    same = client.get(f"/v1/videos/{asked['id']}/content", headers={"If-None-Match": film.headers["etag"]})
    assert same.status_code == 304
    for variant in ("thumbnail", "spritesheet"):
        picture = client.get(f"/v1/videos/{asked['id']}/content?variant={variant}")
        assert picture.headers["content-type"] == "image/jpeg" and picture.content[:3] == b"\xff\xd8\xff"


def test_multipart_says_the_same_as_json(client: TestClient) -> None:
    form = {"prompt": (None, BALL["prompt"]), "seconds": (None, "2"), "size": (None, "16:9"), "seed": (None, "7")}
    asked = client.post("/v1/videos", files=form).json()
    assert (asked["seconds"], asked["size"], asked["seed"]) == ("2", "160x96", 7)
    nested = {"prompt": (None, "a ball"), "input_reference": (None, json.dumps({"file_id": "file_1"}))}
    assert "file_id" in refused(client.post("/v1/videos", files=nested), "input_reference.file_id")
    brackets = {"prompt": (None, "a ball"), "input_reference[image_url]": (None, "https://example.com/a.png")}
    assert "example.com" in refused(client.post("/v1/videos", files=brackets), "input_reference")


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"prompt": ""}, "prompt", "prompt is empty; say in 1 to 5000 characters what should be seen and heard"),
        ({"prompt": " \n"}, "prompt", "prompt is empty; say in 1 to 5000 characters"),
        ({"prompt": "a" * 5001}, "prompt", "prompt has 5001 characters; the limit is 5000"),
        ({"prompt": "ball " * 300}, "prompt", "128"),
        ({"lora": {"name": "x"}}, "lora", "not supported"),
        ({"seconds": 11}, "seconds", "0.5 to 10 s"),
        ({"seconds": "soon"}, "seconds", "number"),
        ({"seed": -1}, "seed", "0"),
        ({"seed": True}, "seed", "neither true nor false"),
        ({"size": "1280x720"}, "size", "nearest size is 640x384"),
        ({"size": "large"}, "size", "WIDTHxHEIGHT"),
        ({"n": 9}, "n", "1 to 8"),
        ({"fps": 30}, "fps", "24"),
        ({"num_frames": 48}, "num_frames", "seconds"),
        ({"width": 128}, "height", "together"),
        ({"generate_sound": False}, "generate_sound", "together"),
        ({"num_inference_steps": 0}, "num_inference_steps", "1"),
        ({"guidance_scale": 99}, "guidance_scale", "30"),
        ({"input_reference": "https://example.com/a.png"}, "input_reference", "hosts"),
        ({"input_reference": {"image_url": "https://x.example", "url": "https://y.example"}}, "input_reference", "one"),
        ({"webhook_url": "https://example.com/hook"}, "webhook_url", "hosts"),
        ({"user": "u" * 257}, "user", "256"),
    ],
)
def test_refusals_name_the_field_and_the_limit(refusing: TestClient, wrong: dict, field: str, says: str) -> None:
    assert says in refused(refusing.post("/v1/videos", json={**BALL, **wrong}), field)


def test_bodies_that_cannot_be_read_are_refused(refusing: TestClient) -> None:
    client = refusing
    as_json = {"Content-Type": "application/json"}
    for body in (b"{", b"[1]", b'{"prompt": NaN}', b"\xff", b"[" * 100_000):
        refused(client.post("/v1/videos", content=body, headers=as_json), None)
    refused(client.post("/v1/videos", content=b"x", headers={"Content-Type": "text/plain"}), "Content-Type", 415)
    refused(client.post("/v1/videos", files={"other": ("a.png", b"x")}, data={"prompt": "a ball"}), "other")
    refused(client.post("/v1/videos", json={**BALL, "model": "other"}), "model", 404)


def test_several_previews_share_a_group_and_have_seeds_in_a_row(client: TestClient) -> None:
    asked = client.post("/v1/videos", json={**BALL, "n": 3}).json()
    assert [video["seed"] for video in asked["data"]] == [7, 8, 9]
    assert asked["id"] == asked["data"][0]["id"] and len({video["group"] for video in asked["data"]}) == 1
    listed = client.get("/v1/videos", params={"group": asked["group"]}).json()["data"]
    assert {video["id"] for video in listed} == {video["id"] for video in asked["data"]}


def test_the_same_idempotency_key_finds_the_same_jobs(client: TestClient) -> None:
    key, drawn = {"Idempotency-Key": "k1"}, {"prompt": "a ball", "n": 2}
    first = client.post("/v1/videos", json=drawn, headers=key).json()
    again = client.post("/v1/videos", json=drawn, headers=key).json()
    assert [video["id"] for video in first["data"]] == [video["id"] for video in again["data"]]
    assert first["seed"] == again["seed"]
    refused(client.post("/v1/videos", json={**drawn, "prompt": "x"}, headers=key), "Idempotency-Key", 409)
    refused(client.post("/v1/videos", json=drawn, headers={"Idempotency-Key": "k" * 201}), "Idempotency-Key")


def test_lists_are_paged(client: TestClient) -> None:
    ids = [client.post("/v1/videos", json=BALL).json()["id"] for _ in range(5)]
    page = client.get("/v1/videos", params={"limit": 2, "order": "asc"}).json()
    assert [video["id"] for video in page["data"]] == ids[:2] and page["has_more"]
    assert (page["object"], page["first_id"], page["last_id"]) == ("list", ids[0], ids[1])
    rest = client.get("/v1/videos", params={"after": page["last_id"], "order": "asc"}).json()
    assert [video["id"] for video in rest["data"]] == ids[2:] and not rest["has_more"]
    assert [video["id"] for video in client.get("/v1/videos").json()["data"]] == ids[::-1]
    refused(client.get("/v1/videos?limit=0"), "limit")
    refused(client.get("/v1/videos?after=nothing"), "after")
    refused(client.get("/v1/videos?status=late"), "status")


def test_deleted_and_unknown_videos_are_not_there(client: TestClient) -> None:
    name = client.post("/v1/videos", json=BALL).json()["id"]
    assert client.delete(f"/v1/videos/{name}").json() == {"id": name, "object": "video.deleted", "deleted": True}
    for answer in (client.get(f"/v1/videos/{name}"), client.delete(f"/v1/videos/{name}"), client.get("/v1/videos/x")):
        refused(answer, None, 404)


def test_a_waiting_job_is_cancelled_at_once(client: TestClient, work: Callable) -> None:
    name = client.post("/v1/videos", json=BALL).json()["id"]
    assert client.post(f"/v1/videos/{name}/cancel").json()["status"] == "cancelled"
    work()
    assert client.get(f"/v1/videos/{name}").json()["status"] == "cancelled"
    refused(client.post(f"/v1/videos/{name}/cancel", json={"why": "x"}), "why")


def test_renders_remixes_and_extensions_build_on_a_clip(client: TestClient, work: Callable) -> None:
    name = client.post("/v1/videos", json=BALL).json()["id"]
    refused(client.post(f"/v1/videos/{name}/render"), None, 409)
    work()
    render = client.post(f"/v1/videos/{name}/render", json={}).json()
    assert (render["kind"], render["size"], render["remixed_from_video_id"]) == ("render", "512x512", name)
    work()
    assert "is a render already" in refused(client.post(f"/v1/videos/{render['id']}/render"), None)
    remix = client.post(f"/v1/videos/{name}/remix", json={"prompt": "a blue ball"}).json()
    assert (remix["prompt"], remix["seed"], remix["seconds"]) == ("a blue ball", 7, "2")
    several = client.post(f"/v1/videos/{name}/remix", json={"prompt": "a blue ball", "seed": 20, "n": 3}).json()
    assert [one["seed"] for one in several["data"]] == [20, 21, 22]
    assert {(one["remixed_from_video_id"], one["group"]) for one in several["data"]} == {(name, several["group"])}
    refused(client.post(f"/v1/videos/{name}/remix", json={"prompt": "a ball", "n": 9}), "n")
    assert "512x512" in refused(client.post(f"/v1/videos/{name}/render", json={"size": "1080p"}), "size")
    longer = {"video": {"id": name}, "prompt": "it rolls away", "seconds": "3"}
    extension = client.post("/v1/videos/extensions", json=longer).json()
    assert extension["kind"] == "extend" and float(extension["seconds"]) == 3.5
    refused(client.post("/v1/videos/extensions", json={**longer, "seconds": 90}), "seconds")
    refused(client.post("/v1/videos/extensions", json={"prompt": "x"}), "video")
    edit = {"video": {"id": name}, "prompt": "a bell"}
    assert "new sound" in refused(client.post("/v1/videos/edits", json=edit), "generate_sound")
    refused(client.post(f"/v1/videos/{render['id']}/remix", json={"prompt": "x"}), None)


def test_a_clip_whose_file_is_gone_is_not_found(client: TestClient, work: Callable) -> None:
    name = client.post("/v1/videos", json=BALL).json()["id"]
    work()
    service = client.app.state.service  # type: ignore[attr-defined]
    service.blobs.delete(service.queue.get(name).result["video"])
    assert "not there any more" in refused(client.get(f"/v1/videos/{name}/content"), None, 404)


def test_a_server_that_stops_says_that_the_clip_is_yet_to_come(client: TestClient) -> None:
    client.app.state.listeners.end()  # type: ignore[attr-defined]
    answer = client.post("/v1/videos/sync", json=BALL)
    assert "fetched by its id" in refused(answer, None, 503) and answer.headers["retry-after"] == "30"


def test_a_dry_run_says_what_it_would_take_and_submits_nothing(client: TestClient) -> None:
    answer = client.post("/v1/videos", json={**BALL, "n": 2, "dry_run": True}).json()
    assert answer["object"] == "video.estimate" and (answer["n"], answer["size"]) == (2, "128x128")
    assert answer["inference_time_s"] > 0 and answer["peak_memory_mb"] > 0
    assert client.get("/v1/videos").json()["data"] == []


def test_a_full_queue_is_said_with_the_time_to_come_back(client: TestClient) -> None:
    for _ in range(2):
        client.post("/v1/videos", json={**BALL, "n": 8})
    service = client.app.state.service  # type: ignore[attr-defined]
    service.waiting._at = float("-inf")
    answer = client.post("/v1/videos", json={**BALL, "n": 8})
    assert "20 jobs wait" in refused(answer, None, 429) and int(answer.headers["retry-after"]) > 0


def test_a_synchronous_request_that_takes_too_long_names_its_job(client: TestClient) -> None:
    answer = client.post("/v1/videos/sync", json=BALL)
    assert "video_" in refused(answer, None, 504)
    refused(client.post("/v1/videos/sync", json={**BALL, "n": 2}), "n")


class Glance:
    """Stands for the process that decodes: an image of 96 x 64."""

    def inspect(self, path: Path, kind: str) -> Facts:
        assert path.is_file()
        return Facts(kind, 96, 64, 1)

    def close(self) -> None:
        pass


def test_an_image_is_taken_as_a_file_or_as_data(client: TestClient) -> None:
    client.app.state.service.inspector = Glance()  # type: ignore[attr-defined]
    picture = jpeg(np.full((64, 96, 3), 128, np.uint8))
    sent = client.post("/v1/videos", data={"prompt": "a ball"}, files={"input_reference": ("a.jpg", picture)}).json()
    assert sent["size"] == "160x96"
    url = "data:image/jpeg;base64," + base64.b64encode(picture).decode()
    as_text = client.post("/v1/videos", json={"prompt": "a ball", "last_image_reference": {"image_url": url}})
    assert as_text.json()["size"] == "160x96"
    text = {"prompt": "a ball", "input_reference": {"image_url": "data:image/jpeg,nothing"}}
    assert "no format" in refused(client.post("/v1/videos", json=text), "input_reference")
    wrong = client.post("/v1/videos", data={"prompt": "a ball"}, files={"audio_reference": ("a.wav", picture)})
    assert "/" not in refused(wrong, "audio_reference")
    twice = {"prompt": "a ball", "image_reference": "https://x.example/a.png"}
    refused(client.post("/v1/videos", data=twice, files={"input_reference": ("a.jpg", picture)}), "image_reference")


def test_models_say_what_can_be_asked_for(refusing: TestClient) -> None:
    (foal,) = refusing.get("/v1/models").json()["data"]
    assert foal["id"] == "foal" and foal["renders"] and "128x128" in foal["sizes"] and "512x512" in foal["render_sizes"]
    assert foal["seconds_min"] <= foal["seconds"] <= foal["seconds_max"]
