import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.background import Courier, clear
from happyhorse.server.keys import Keys
from happyhorse.server.settings import Settings
from happyhorse.server.webhooks import verify
from happyhorse.server.worker import Worker, makers_of

BALL = {"prompt": "a red ball bounces on wood", "seconds": "2", "seed": 7}


def serving(folder: Path, **settings) -> TestClient:
    app = create_app(Settings(folder=folder, stub=True, **settings))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with serving(tmp_path_factory.mktemp("service"), body_mib=1) as opened:
        yield opened


def worker_of(client: TestClient) -> Worker:
    service = client.app.state.service  # type: ignore[attr-defined]
    return Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", True))


def test_health_says_what_is_missing(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "no worker" in client.get("/readyz").json()["reason"] and client.get("/readyz").status_code == 503
    client.app.state.service.presence.say("w1", "cpu", 1)  # type: ignore[attr-defined]
    assert client.get("/readyz").json() == {"status": "ok", "workers": 1}


def test_metrics_count_jobs_requests_and_stages(client: TestClient) -> None:
    client.post("/v1/videos", json=BALL)
    worker_of(client).work_once()
    client.get("/v1/videos/video_000000000000000000000000")
    text = client.get("/metrics").text
    assert 'happyhorse_jobs{status="completed"} 1.0' in text and "happyhorse_oldest_waiting_seconds 0.0" in text
    assert 'happyhorse_requests_total{method="GET",route="/v1/videos/{video_id}",status="404"} 1.0' in text


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/docs", "/v1/videos", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert len(headers["x-request-id"]) == 32 and "access-control-allow-origin" not in headers


def test_pages_of_other_sites_are_refused(client: TestClient) -> None:
    evil = {"Origin": "https://evil.example"}
    answer = client.post("/v1/videos", json=BALL, headers=evil)
    assert answer.status_code == 403 and answer.json()["error"]["param"] == "Origin"
    assert client.post("/v1/videos", json=BALL, headers={"Origin": "null"}).status_code == 403
    own = client.post("/v1/videos", json={**BALL, "dry_run": True}, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 200
    for host, status in (("rebound.example", 403), ("localhost:8000", 200), ("[::1]:8000", 200), ("10.0.0.1", 403)):
        assert client.get("/healthz", headers={"Host": host}).status_code == status, host


def test_bodies_above_the_limit_are_refused_while_they_come(client: TestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    assert client.post("/v1/videos", content=b" " * (2**20 + 1), headers=as_json).status_code == 413
    blocks = (b" " * 2**18 for _ in range(8))  # no Content-Length
    answer = client.post("/v1/videos", content=blocks, headers=as_json)
    assert answer.status_code == 413 and "1 MiB" in answer.json()["error"]["message"]


def test_mistakes_of_ours_are_not_told(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_, **__):
        raise RuntimeError("a secret at /srv/place")

    monkeypatch.setattr(client.app.state.service.queue, "get", fail)  # type: ignore[attr-defined]
    for path in ("/v1/videos/video_1", "/api/v1/tasks/video_1"):
        answer = client.get(path)
        assert answer.status_code == 500 and "secret" not in answer.text and "/srv" not in answer.text
        assert "default-src" in answer.headers["content-security-policy"]


def test_the_page_about_the_api_has_every_route_and_no_script(client: TestClient) -> None:
    page, document = client.get("/docs").text, client.get("/openapi.json").json()
    assert all(path in page for path in document["paths"]) and "<script" not in page and "style=" not in page
    assert "curl http://127.0.0.1:8000/v1/videos" in page
    assert client.get("/docs.css").headers["content-type"].startswith("text/css")


def test_the_studio_is_served_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bare = TestClient(create_app(Settings(folder=tmp_path), studio=tmp_path / "empty"), base_url="http://127.0.0.1")
    assert bare.get("/", follow_redirects=False).headers["location"] == "/docs"
    (tmp_path / "empty" / "index.html").write_text("<p>studio</p>")
    full = TestClient(create_app(Settings(folder=tmp_path), studio=tmp_path / "empty"), base_url="http://127.0.0.1")
    assert full.get("/").text == "<p>studio</p>" and full.get("/../jobs.sqlite").status_code == 404
    assert full.get("/v1/models").status_code == 200


def test_keys_open_what_their_scopes_say_and_owners_see_their_own(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    maker, reader, admin = (keys.create(name, (name,)) for name in ("generate", "read", "admin"))

    def header(key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {key}"}

    with serving(tmp_path, keys=True, burst=4, per_minute=1) as client:
        assert client.get("/v1/videos").json()["error"]["code"] == "missing_api_key"
        assert client.get("/v1/videos", headers=header("hh_" + "x" * 32)).status_code == 401
        assert client.post("/v1/videos", json=BALL, headers=header(reader)).status_code == 403
        name = client.post("/v1/videos", json=BALL, headers=header(maker)).json()["id"]
        assert client.get(f"/v1/videos/{name}", headers=header(reader)).status_code == 404
        assert client.get(f"/v1/videos/{name}", headers=header(admin)).json()["id"] == name
        secrets = {client.get("/v1/webhooks/secret", headers=header(key)).text for key in (maker, admin)}
        assert len(secrets) == 2 and all("whsec_" in secret for secret in secrets)
        for _ in range(3):
            assert client.post("/v1/videos", json=BALL, headers=header(maker)).status_code == 200
        limited = client.post("/v1/videos", json=BALL, headers=header(maker))
        assert limited.status_code == 429 and int(limited.headers["retry-after"]) > 10
        assert client.get("/healthz").status_code == 200 and client.get("/metrics").status_code == 401


class Receiver(BaseHTTPRequestHandler):
    """Refuses the first message, takes all others."""

    got: list[tuple[dict, bytes]]

    def do_POST(self) -> None:
        self.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(503 if len(self.got) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_webhooks_are_signed_and_tried_again(tmp_path: Path) -> None:
    Receiver.got = []
    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    port = receiver.server_address[1]
    reach = {"reach_schemes": ("http",), "reach_ports": (port,), "reach_networks": ("127.0.0.0/8",)}
    client = serving(tmp_path, webhook_hosts=("127.0.0.1",), **reach)  # not entered: no couriers but ours
    asked = client.post("/v1/videos", json={**BALL, "webhook_url": f"http://127.0.0.1:{port}/done"}).json()
    worker_of(client).work_once()
    service = client.app.state.service  # type: ignore[attr-defined]
    courier = Courier(service)
    assert courier.send_due() == 1 and courier.send_due() == 0  # the next attempt is due in a while
    now = service.queue.clock
    service.queue.clock = lambda: now() + 10
    assert courier.send_due() == 1 and courier.send_due() == 0
    receiver.shutdown()
    (first, body), (second, again) = Receiver.got
    assert body == again and first["webhook-id"] == second["webhook-id"] == verify(
        service.webhook_secret(""), second, again
    )
    told = json.loads(body)
    assert told["type"] == "video.completed" and told["data"]["id"] == asked["id"]


def test_retention_deletes_jobs_and_their_clips(tmp_path: Path) -> None:
    client = serving(tmp_path, keep_days=1)
    client.post("/v1/videos", json=BALL)
    worker_of(client).work_once()
    service = client.app.state.service  # type: ignore[attr-defined]
    now = service.queue.clock
    service.queue.clock = lambda: now() + 2 * 86_400
    freed = clear(service)
    assert freed.jobs == 1 and freed.blobs >= 3 and client.get("/v1/videos").json()["data"] == []


def test_settings_come_from_arguments_then_variables_then_defaults(tmp_path: Path) -> None:
    variables = {"HAPPYHORSE_SERVE_PORT": "9000", "HAPPYHORSE_SERVE_HOST": "0.0.0.0", "HAPPYHORSE_SERVE_MODELS": "a, b"}
    read = Settings.read({"port": 7000, "host": None, "folder": tmp_path}, variables)
    assert (read.port, read.host, read.models, read.attempts) == (7000, "0.0.0.0", ("a", "b"), 3)
    assert read.asks_for_keys and not Settings(folder=tmp_path).asks_for_keys
    assert Settings.read(environment=read.environment()) == read
    for name, value in (("PORT", "many"), ("STUB", "perhaps"), ("NOTHING", "1"), ("LEASE_SECONDS", "0")):
        with pytest.raises(ValueError, match=name.lower() if name == "LEASE_SECONDS" else name):
            Settings.read(environment={f"HAPPYHORSE_SERVE_{name}": value})


def test_links_need_no_key_and_run_out(tmp_path: Path) -> None:
    service = serving(tmp_path, keys=True).app.state.service  # type: ignore[attr-defined]
    query = dict(part.split("=") for part in service.link("video_1", 60).split("&"))
    assert service.link_holds("video_1", **query) and not service.link_holds("video_2", **query)
    later = {**query, "expires": str(int(query["expires"]) + 1)}
    assert not service.link_holds("video_1", **later)
    now = service.queue.clock
    service.queue.clock = lambda: now() + 61
    assert not service.link_holds("video_1", **query)
