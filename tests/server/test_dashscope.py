from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.settings import Settings
from happyhorse.server.worker import Worker, makers_of

ADDRESS = "/api/v1/services/aigc/video-generation/video-synthesis"
ASYNC = {"X-DashScope-Async": "enable"}
BALL = {"model": "happyhorse-1.1-t2v", "input": {"prompt": "a red ball bounces on wood"}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app = create_app(Settings(folder=tmp_path_factory.mktemp("service"), stub=True))
    with TestClient(app, base_url="http://127.0.0.1") as opened:
        yield opened


def ask(client: TestClient, model: str = BALL["model"], prompt: str | None = None, media: list | None = None, **given):
    asked = {"prompt": BALL["input"]["prompt"] if prompt is None else prompt, **({"media": media} if media else {})}
    return client.post(ADDRESS, json={"model": model, "input": asked, "parameters": given}, headers=ASYNC)


def refused(answer, code: str, says: str, status: int = 400) -> None:
    body = answer.json()
    assert answer.status_code == status and body["code"] == code and says in body["message"], answer.text
    assert len(body["request_id"]) == 32


def test_a_task_is_submitted_looked_at_and_downloaded(client: TestClient) -> None:
    first = ask(client, resolution="720P", ratio="16:9", duration=3, seed=7).json()
    task = first["output"]["task_id"]
    assert first["output"]["task_status"] == "PENDING" and first["request_id"]
    waiting = client.get(f"/api/v1/tasks/{task}").json()
    assert waiting["output"]["size"] == "640x384" and "video_url" not in waiting["output"]
    service = client.app.state.service  # type: ignore[attr-defined]
    assert Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", True)).work_once()
    output = client.get(f"/api/v1/tasks/{task}").json()["output"]
    assert (output["task_status"], output["orig_prompt"], output["model"]) == (
        "SUCCEEDED",
        *BALL["input"].values(),
        "foal",
    )
    assert output["submit_time"] <= output["scheduled_time"] <= output["end_time"]
    film = client.get(output["video_url"])
    assert film.status_code == 200 and film.headers["content-type"] == "video/mp4"


def test_what_is_made_is_said_where_it_is_not_what_was_asked(client: TestClient) -> None:
    for resolution, ratio, size in (
        ("480P", "9:16", "96x160"),
        ("1080P", "21:9", "640x384"),
        ("480P", "1:1", "128x128"),
    ):
        task = ask(client, resolution=resolution, ratio=ratio, duration=3).json()["output"]["task_id"]
        output = client.get(f"/api/v1/tasks/{task}").json()["output"]
        assert output["size"] == size and f"{resolution} {ratio} is made by foal as {size}" in output["notes"][-1]


def test_only_what_waits_is_cancelled(client: TestClient) -> None:
    task = ask(client, duration=3).json()["output"]["task_id"]
    assert client.post(f"/api/v1/tasks/{task}/cancel").status_code == 200
    assert client.get(f"/api/v1/tasks/{task}").json()["output"]["task_status"] == "CANCELED"
    assert "CANCELED" in client.post(f"/api/v1/tasks/{task}/cancel").json()["message"]
    assert client.get("/api/v1/tasks/nothing").json()["output"]["task_status"] == "UNKNOWN"


def test_refusals_have_the_hosted_service_s_codes(client: TestClient) -> None:
    refused(client.post(ADDRESS, json=BALL), "InvalidParameter", "does not support synchronous calls")
    refused(ask(client, model="wan2.5-t2v"), "ModelNotFound", "wan2.5", 404)
    refused(ask(client, duration=2), "InvalidParameter", "parameters.duration is 2")
    refused(ask(client, duration=12), "InvalidParameter", "foal makes 0.5 to 10 s")
    refused(ask(client, resolution="4K"), "InvalidParameter", "parameters.resolution")
    refused(ask(client, watermark=True), "InvalidParameter", "watermark")
    refused(ask(client, style="x"), "InvalidParameter", "parameters.style")
    refused(ask(client, seed=2**31), "InvalidParameter", "parameters.seed")
    refused(ask(client, prompt=" "), "InvalidParameter", "input.prompt")
    refused(ask(client, prompt="球" * 2501), "InvalidParameter", "2500")
    frame = {"type": "first_frame", "url": "https://example.com/a.png"}
    refused(ask(client, media=[frame]), "InvalidParameter", "takes exactly 0 first_frame")
    refused(ask(client, model="happyhorse-1.1-i2v"), "InvalidParameter", "takes exactly 1 first_frame")
    refused(ask(client, model="happyhorse-1.1-i2v", media=[frame], ratio="1:1"), "InvalidParameter", "no ratio")
    refused(ask(client, model="happyhorse-1.1-i2v", media=[frame]), "InvalidParameter", "input.media[0].url")
    refused(ask(client, model="happyhorse-1.0-video-edit"), "InvalidParameter", "changes no pictures")
    refused(client.post(ADDRESS, content=b"{", headers=ASYNC), "InvalidParameter", "Content-Type", 415)
    refused(client.get("/api/v1/nothing"), "NotFound", "nothing", 404)


def test_keys_are_asked_for_in_the_same_words(tmp_path: Path) -> None:
    app = create_app(Settings(folder=tmp_path, stub=True, keys=True))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        refused(ask(client), "InvalidApiKey", "Authorization", 401)
