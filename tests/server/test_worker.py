import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.clip import read_recipe
from happyhorse.codecs.images import jpeg
from happyhorse.codecs.media import probe, read_mp4
from happyhorse.errors import OutputError, SizeError, WeightsError
from happyhorse.server import pulse
from happyhorse.server.blobs import Blobs
from happyhorse.server.forms import Render
from happyhorse.server.jobs import Jobs
from happyhorse.server.makers import ModelMaker, StubMaker
from happyhorse.server.offers import Offer, load_offer
from happyhorse.server.orders import Medium
from happyhorse.server.presence import Presence
from happyhorse.server.records import Job, Submission
from happyhorse.server.wishes import Wish, orders, render_order
from happyhorse.server.worker import Worker


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Jobs]:
    opened = Jobs(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Offer:
    return load_offer(str(tiny_model))


@pytest.fixture
def submit(queue: Jobs, tiny: Offer) -> Callable[..., Job]:
    def ask(kind: str = "generate", **wish: Any) -> Job:
        (order,) = orders(Wish(**{"prompt": "a ball", "seed": 7, **wish}), tiny)
        return queue.submit(Submission(kind, tiny.name, order.to_json()))

    return ask


class Steps:
    """A maker that says each step and does what a test wants at one of them."""

    def __init__(self, at: int = 2, act: Callable[[], object] = lambda: None) -> None:
        self.at, self.act, self.made = at, act, list[int]()

    def make(self, order, media, progress):
        for step in range(1, 9):
            if step == self.at:
                self.act()
            progress("denoise", step, 8)
            self.made.append(step)
        return StubMaker().make(order, media, progress)

    def make_together(self, orders, media, progress):
        for step in range(1, 9):
            if step == self.at:
                self.act()
            progress("denoise", step, 8)
            self.made.append(step)
        return StubMaker().make_together(orders, media, progress)


def worker(queue: Jobs, blobs: Blobs, maker: Any, lease_seconds: float = 30.0, batch: int = 1) -> Worker:
    return Worker(queue, blobs, {"tiny": lambda: maker}, lease_seconds=lease_seconds, batch=batch)


@pytest.fixture(autouse=True)
def prompt_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step asks the database, so that nothing depends on how long steps take."""
    monkeypatch.setattr(pulse, "TELL_EVERY", 0.0)


def test_a_model_s_clip_comes_with_its_pictures_recipe_and_latents(
    queue: Jobs, blobs: Blobs, submit: Callable[..., Job], tiny: Offer
) -> None:
    job, maker = submit(size="64x64"), ModelMaker(tiny.source, "cpu")
    assert worker(queue, blobs, maker).work_once()
    made = queue.get(job.id).result
    assert made is not None and made["size"] == "64x64" and made["seconds"] == 0.5
    path = blobs.local_path(made["video"])
    assert path is not None and read_recipe(path) == made["recipe"] and made["recipe"]["seed"] == 7
    assert (probe(path).sample_rate, probe(path).width) == (24_000, 64) and path.stat().st_size == made["bytes"]
    assert set(made["timings"]) == {"read", "denoise", "picture", "sound", "write"} and made["peak_memory_mb"] > 10
    assert all(blobs.exists(made[name]) for name in ("thumbnail", "spritesheet", "latents"))

    order = render_order(job.request, made, job.id, tiny, Render())
    large = queue.submit(Submission("render", "tiny", order.to_json(), remixed_from=job.id))
    worker(queue, blobs, maker).work_once()
    render = queue.get(large.id).result
    assert render is not None and render["size"] == "256x256"
    assert np.array_equal(read_mp4(blobs.local_path(render["video"]) or "").audio, read_mp4(path).audio)
    stages = [event.data["stage"] for event in queue.events_after(large.id)]
    assert any(stage.startswith("render 1/2") for stage in stages)


def test_given_media_are_read_from_the_store_and_named_without_paths(
    queue: Jobs, blobs: Blobs, submit: Callable[..., Job], tiny: Offer
) -> None:
    picture = blobs.put_bytes(jpeg(np.full((96, 160, 3), 90, np.uint8)), "image/jpeg")
    image = Medium(picture.hash, "image/jpeg", picture.bytes, 160, 96)
    broken = blobs.put_bytes(b"no image", "image/jpeg")
    good = submit(media={"image": image})
    bad = submit(media={"image": Medium(broken.hash, "image/jpeg", 8, 160, 96)})
    making = worker(queue, blobs, ModelMaker(tiny.source, "cpu"))
    making.work_once(), making.work_once()
    result, error = queue.get(good.id).result, queue.get(bad.id).error
    assert result is not None and result["size"] == "160x96" and result["recipe"]["image"]["path"] is None
    assert error is not None and error["code"] == "invalid_media" and "the given image" in error["message"]
    assert str(blobs.local_path(broken.hash)) not in json.dumps(error)


def test_progress_is_that_of_the_steps(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job = submit()
    worker(queue, blobs, Steps()).work_once()
    told = [(event.data["stage"], event.data["progress"]) for event in queue.events_after(job.id)]
    steps = [progress for stage, progress in told if stage.startswith("denoise") and stage.endswith("/8")]
    assert len(steps) == 8 and steps == sorted(steps) and 0 < steps[0] < 15
    assert told[-1][1] == 100 and all(progress <= 99 for _, progress in told[:-1])


def test_a_cancelled_job_ends_with_the_step(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job = submit()
    maker = Steps(3, lambda: queue.request_cancel(job.id))
    worker(queue, blobs, maker).work_once()
    assert maker.made == [1, 2] and queue.get(job.id).status == "cancelled"


def test_a_worker_that_is_stopped_gives_its_job_back(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job = submit()
    first = worker(queue, blobs, None)
    maker = Steps(3, first.stop)
    first._makers = {"tiny": lambda: maker}
    first.work_once()
    found = queue.get(job.id)
    assert maker.made == [1, 2] and (found.status, found.attempts_max - found.attempts) == ("queued", 3)
    worker(queue, blobs, Steps()).work_once()
    assert queue.get(job.id).status == "completed"


def test_a_worker_that_lost_its_lease_hands_nothing_in(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job, now = submit(), queue.clock

    def taken_up_by_another() -> None:
        queue.clock = lambda: now() + 100
        assert queue.claim("other", ["tiny"], 1000) is not None

    maker = Steps(3, taken_up_by_another)
    worker(queue, blobs, maker).work_once()
    found = queue.get(job.id)
    assert maker.made == [1, 2] and (found.status, found.worker) == ("in_progress", "other")


def test_a_deleted_job_is_dropped(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job = submit()
    maker = Steps(3, lambda: queue.delete(job.id))
    worker(queue, blobs, maker).work_once()
    assert maker.made == [1, 2] and queue.page().jobs == ()


@pytest.mark.parametrize(
    ("error", "status", "code", "says"),
    [
        (SizeError("a clip of 9 s cannot be made"), "failed", "invalid_size", "9 s"),
        (WeightsError("/srv/model is damaged"), "failed", "model_unavailable", "weights"),
        (MemoryError(), "failed", "out_of_memory", "memory"),
        (RuntimeError("secret"), "failed", "internal_error", "inside the service"),
    ],
)
def test_failures_are_told_without_internals(
    queue: Jobs, blobs: Blobs, submit: Callable[..., Job], error: Exception, status: str, code: str, says: str
) -> None:
    def fail() -> None:
        raise error

    job = submit()
    worker(queue, blobs, Steps(3, fail)).work_once()
    found = queue.get(job.id)
    assert found.status == status and found.error is not None
    assert found.error["code"] == code and says in found.error["message"]
    assert "/srv" not in found.error["message"] and "secret" not in found.error["message"]


def test_a_full_store_may_be_better_the_next_time(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    def fail() -> None:
        raise OutputError("no space left to write /srv/blobs")

    job = submit()
    for status in ("queued", "queued", "failed"):
        worker(queue, blobs, Steps(3, fail)).work_once()
        assert queue.get(job.id).status == status
    error = queue.get(job.id).error
    assert error is not None and error["code"] == "internal_error" and "/srv" not in error["message"]


def test_a_long_step_keeps_its_lease(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job, beats = submit(), threading.Event()
    heartbeat = queue.heartbeat

    def counted(job: Job, worker: str, lease: float, progress: float | None = None, stage: str | None = None) -> bool:
        if progress is None:
            beats.set()
        return heartbeat(job, worker, lease, progress, stage)

    queue.heartbeat = counted  # type: ignore[method-assign]
    worker(queue, blobs, Steps(3, lambda: beats.wait(20)), lease_seconds=0.4).work_once()
    assert beats.is_set() and queue.get(job.id).status == "completed"


def test_a_worker_is_seen_while_it_runs(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    job, presence = submit(), Presence(queue)
    running = worker(queue, blobs, None)
    seen = list[str]()

    def look() -> None:
        seen.extend(one.name for one in presence.here())
        running.stop()

    running._makers = {"tiny": lambda: Steps(3, look)}
    running.run()
    assert seen == [running.name] and presence.here() == [] and queue.get(job.id).status == "queued"
    presence.say("old", "cpu", 1)
    now = queue.clock
    queue.clock = lambda: now() + 61
    assert presence.here() == []


# ------------------------------------------------------------------------------------------------------------- batches
def test_previews_made_together_are_those_made_alone(
    queue: Jobs, blobs: Blobs, submit: Callable[..., Job], tiny: Offer
) -> None:
    wishes = [{"prompt": "a ball", "seed": 1}, {"prompt": "a horse runs", "negative_prompt": "blur", "seed": 2}]
    maker = ModelMaker(tiny.source, "cpu")
    films = []
    for batch in (1, 2):
        jobs = [submit(**wish) for wish in wishes]
        making = worker(queue, blobs, maker, batch=batch)
        assert [making.work_once() for _ in range(3)].count(True) == 2 / batch
        results = [queue.get(job.id).result or {} for job in jobs]
        assert [result["recipe"].get("batch") for result in results] == [batch if batch > 1 else None] * 2
        films.append([read_mp4(blobs.local_path(result["video"]) or "").frames.astype(int) for result in results])
    (alone, other), (together, _) = films
    assert np.abs(alone - together).max() <= 3 < np.abs(alone - other).max()


def test_one_that_is_cancelled_leaves_the_others_of_its_batch(
    queue: Jobs, blobs: Blobs, submit: Callable[..., Job]
) -> None:
    jobs = [submit(seed=seed) for seed in (1, 2, 3)]
    maker = Steps(3, lambda: queue.request_cancel(jobs[1].id))
    assert worker(queue, blobs, maker, batch=4).work_once()
    assert [queue.get(job.id).status for job in jobs] == ["completed", "cancelled", "completed"]
    assert len({(queue.get(job.id).result or {}).get("video") for job in jobs}) == 3


def test_a_batch_that_fails_comes_back_one_by_one(queue: Jobs, blobs: Blobs, submit: Callable[..., Job]) -> None:
    def fail() -> None:
        raise MemoryError

    jobs = [submit(seed=seed) for seed in (1, 2)]
    making = worker(queue, blobs, Steps(3, fail), batch=4)
    making.work_once()
    assert [queue.get(job.id).status for job in jobs] == ["queued", "queued"]
    making._loaded = {"tiny": Steps()}
    making.work_once()
    assert [queue.get(job.id).status for job in jobs] == ["completed", "queued"]
