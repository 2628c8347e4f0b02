import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.errors import ServiceError
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import Submission
from happyhorse.server.settings import Settings
from happyhorse.server.sse import Listeners, last_event, stream

ORDER = {"prompt": "a ball", "size": "128x128", "seconds": 2, "seed": 7}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Jobs]:
    opened = Jobs(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


def submit(queue: Jobs):
    return queue.submit(Submission("generate", "foal", ORDER))


def told(text: str) -> list[tuple[str, int, float]]:
    """Kind, number and progress of each event in a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], int(lines["id"]), json.loads(lines["data"])["progress"]))
    return found


def test_a_listener_hears_every_step_as_it_happens(queue: Jobs) -> None:
    waiting = submit(queue)

    async def listen() -> list[tuple[str, int, float]]:
        listeners, text = Listeners(queue, look_every=0.01), ""
        async for part in stream(listeners, waiting.id, 0):
            text += part.decode()
            if text.count("event: ") == 1:  # the rest happens while it listens
                job = queue.claim("w", ["foal"], 30)
                assert job is not None
                queue.heartbeat(job, "w", 30, 25.0, "denoise 2/8")
                queue.complete(job, "w", {"seconds": 2})
        assert len(listeners) == 0
        return told(text)

    kinds = [("queued", 1, 0.0), ("started", 2, 0.0), ("progress", 3, 25.0), ("completed", 4, 100.0)]
    assert asyncio.run(listen()) == kinds


def test_many_listeners_are_woken_by_one_look_and_all_let_go(queue: Jobs) -> None:
    jobs = [submit(queue) for _ in range(5)]

    async def listen() -> list[bool]:
        listeners = Listeners(queue, look_every=0.01)
        waits = [asyncio.create_task(listeners.finished(job.id, 20)) for job in jobs for _ in range(8)]
        await asyncio.sleep(0.05)
        assert len(listeners) == 40
        for job in jobs[:4]:
            queue.request_cancel(job.id)
        queue.delete(jobs[4].id)
        found = await asyncio.gather(*waits)
        assert len(listeners) == 0
        return found

    assert all(asyncio.run(listen()))


def test_waiting_ends_in_time_and_too_many_listeners_are_refused(queue: Jobs) -> None:
    job = submit(queue)

    async def listen() -> None:
        listeners = Listeners(queue, most=1, look_every=0.01)
        assert not await listeners.finished(job.id, 0.05)
        waiting = asyncio.create_task(listeners.finished(job.id, 1))
        await asyncio.sleep(0.02)
        with pytest.raises(ServiceError, match="1 event streams"):
            listeners.check()
        waiting.cancel()

    asyncio.run(listen())


def test_streams_end_when_the_server_stops_and_with_their_job(queue: Jobs) -> None:
    waiting, deleted = submit(queue), submit(queue)

    async def listen() -> tuple[str, str]:
        listeners = Listeners(queue, look_every=0.01)

        async def hear(name: str) -> str:
            return "".join([part.decode() async for part in stream(listeners, name, 0)])

        texts = [asyncio.create_task(hear(job.id)) for job in (waiting, deleted)]
        await asyncio.sleep(0.05)
        queue.delete(deleted.id)
        gone = await texts[1]
        listeners.end()
        return await texts[0], gone

    ended, gone = asyncio.run(listen())
    assert "event: deleted" in gone and "deleted" not in ended


def test_a_stream_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    app = create_app(Settings(folder=tmp_path, stub=True))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        name = client.post("/v1/videos", json={"prompt": "a ball"}).json()["id"]
        client.post(f"/v1/videos/{name}/cancel")
        address = f"/v1/videos/{name}/events"
        whole = client.get(address)
        assert whole.headers["content-type"].startswith("text/event-stream")
        assert [kind for kind, *_ in told(whole.text)] == ["queued", "cancelled"]
        rest = client.get(address, headers={"Last-Event-ID": "1"})
        assert [kind for kind, *_ in told(rest.text)] == ["cancelled"]
        assert client.get(address, headers={"Last-Event-ID": "2"}).status_code == 204
        assert client.get("/v1/videos/video_1/events").status_code == 404


def test_event_numbers_of_others_are_none_of_ours() -> None:
    assert [last_event(text) for text in (None, "", "7", " 8 ", "-1", "x", "9" * 40)] == [0, 0, 7, 8, 0, 0, 0]
