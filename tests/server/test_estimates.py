from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.estimates import work
from happyhorse.server.offers import Offer, load_offer
from happyhorse.server.orders import Medium
from happyhorse.server.settings import Settings
from happyhorse.server.wishes import Wish, orders


@pytest.fixture(scope="module")
def foal() -> Offer:
    return load_offer("foal")


def units(foal: Offer, **wish) -> float:
    found = work(orders(Wish("a ball", **wish), foal)[0])
    return found.clip + found.render


def test_work_is_rows_times_passes(foal: Offer) -> None:
    assert units(foal) == 8 * 617
    assert units(foal, steps=16) == 2 * units(foal)
    assert units(foal, guidance=3.0) == 2 * units(foal)
    assert units(foal, size="64x64") < units(foal) < units(foal, loop=True) < units(foal, size="512x512")
    clip = Medium("0" * 64, "video/mp4", 10, 128, 128, 5.0)
    assert units(foal, start=clip, seconds=8) == 4 * units(foal)


def test_estimates_rest_on_what_was_made_here(tmp_path: Path) -> None:
    app = create_app(Settings(folder=tmp_path, stub=True))
    client, queue = TestClient(app, base_url="http://127.0.0.1"), app.state.service.queue
    asked = {"prompt": "a ball", "seconds": 5, "seed": 7}

    def estimate(**changes) -> dict:
        return client.post("/v1/videos", json={**asked, **changes, "dry_run": True}).json()

    assert not estimate()["measured"]
    client.post("/v1/videos", json=asked)
    job = queue.claim("w", ["foal"], 30)
    queue.complete(job, "w", {"inference_seconds": 20.0, "peak_memory_mb": 900.0, "seconds": 5.0})
    found = estimate()
    assert found["measured"] and (found["inference_time_s"], found["peak_memory_mb"]) == (20.0, 900.0)
    assert estimate(n=3)["inference_time_s"] == 60.0 and estimate(num_inference_steps=4)["inference_time_s"] == 10.0
    client.post("/v1/videos", json=asked)
    assert estimate()["queue_time_s"] == 20.0
    larger = estimate(size="512x512")
    assert larger["inference_time_s"] == pytest.approx(20 * (1 + 5 * 8057 / (8 * 617)), abs=0.1)


def test_the_wait_counts_jobs_of_all_models_and_those_that_were_not_looked_at(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = create_app(Settings(folder=tmp_path, stub=True, models=("foal", str(tiny_model))))
    client = TestClient(app, base_url="http://127.0.0.1")
    asked = {"prompt": "a ball", "seed": 7}

    def wait() -> float:
        app.state.service.waiting._at = float("-inf")
        return client.post("/v1/videos", json={**asked, "dry_run": True}).json()["queue_time_s"]

    client.post("/v1/videos", json={**asked, "model": "tiny", "seconds": 5, "num_inference_steps": 8, "n": 2})
    assert wait() == pytest.approx(2 * 2 * 3.0, abs=0.1)  # with guidance every step is two passes
    monkeypatch.setattr("happyhorse.server.estimates.LOOKED_AT", 1)
    assert wait() == pytest.approx(2 * 2 * 3.0, abs=0.1)
