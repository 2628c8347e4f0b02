import os
import time

import pytest

from happyhorse.server.blobs import Blobs
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import FINISHED
from happyhorse.server.retention import Freed, expire

DAY = 86_400.0
WORKER = "ann"


@pytest.fixture
def clock():
    """Starts now, since blobs are dated by the disk."""

    class Clock:
        now = time.time()

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def blobs(tmp_path):
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def put(blobs, clock):
    """Puts so many bytes, as old as the clock says; their hash."""

    def put(size, seed=b"x"):
        name = blobs.put_bytes(seed * size, "video/mp4").hash
        os.utime(blobs.local_path(name), (clock.now, clock.now))
        return name

    return put


@pytest.fixture
def finished(jobs, submission, clock):
    """A job that ended with blobs, a day after the one before."""

    def finish(*hashes, **values):
        job = jobs.submit(submission(**values))
        held = jobs.claim(WORKER, ["foal"], 60)
        assert held.id == job.id
        clock.now += DAY
        assert jobs.complete(held, WORKER, {"video": hashes[0], "others": list(hashes[1:])} if hashes else {})
        return job.id

    return finish


def left(jobs):
    return {job.id for job in jobs.page(limit=100).jobs}


def test_old_jobs_go_with_the_blobs_that_only_they_named(jobs, blobs, put, finished, clock):
    shared, mine, other = put(10, b"a"), put(20, b"b"), put(30, b"c")
    old = finished(mine, shared)
    young = finished(other, shared)
    clock.now += 5 * DAY
    assert expire(jobs, blobs, older_than=5.5 * DAY) == Freed(1, 1, 20)
    assert left(jobs) == {young} and old not in left(jobs)
    assert [blobs.exists(name) for name in (shared, mine, other)] == [True, False, True]
    assert expire(jobs, blobs, older_than=5.5 * DAY) == Freed(0, 0, 0)
    assert str(Freed(1, 1, 20_000_000)) == "1 jobs and 1 blobs deleted, 20.0 MB free"


def test_the_oldest_jobs_go_until_the_rest_has_room(jobs, blobs, put, finished, clock):
    names = [put(100, bytes([number])) for number in range(5)]
    ended = [finished(name) for name in names]
    clock.now += DAY
    assert expire(jobs, blobs, larger_than=500) == Freed(0, 0, 0)
    assert expire(jobs, blobs, larger_than=250) == Freed(3, 3, 300)
    assert left(jobs) == set(ended[3:])
    assert [blobs.exists(name) for name in names] == [False] * 3 + [True] * 2
    assert expire(jobs, blobs, larger_than=0) == Freed(2, 2, 200)


def test_shared_blobs_free_no_room_before_their_last_job_goes(jobs, blobs, put, finished, clock):
    shared, small = put(100, b"a"), put(10, b"b")
    ended = [finished(shared), finished(), finished(shared), finished(small)]
    clock.now += DAY
    assert expire(jobs, blobs, larger_than=50) == Freed(2, 1, 100)
    assert left(jobs) == {ended[1], ended[3]}  # one without clips takes no room


def test_unfinished_jobs_stay_with_what_they_start_from(jobs, blobs, put, submission, clock):
    image, clip, film = put(10, b"a"), put(20, b"b"), put(30, b"c")
    waiting = jobs.submit(submission(media={"image": {"blob": image}}, model="later"))
    running = jobs.submit(submission(video=clip))
    again = jobs.submit(submission(video=film))
    assert jobs.claim(WORKER, ["foal"], 1e9).id == running.id
    held = jobs.claim(WORKER, ["foal"], 1e9)
    jobs.fail(held, WORKER, "x", "y", retry=True)
    clock.now += 100 * DAY
    assert expire(jobs, blobs, older_than=0, larger_than=0) == Freed(0, 0, 0)
    assert left(jobs) == {waiting.id, running.id, again.id}
    assert all(map(blobs.exists, (image, clip, film)))


@pytest.mark.parametrize("end", FINISHED)
def test_every_end_lets_go_of_what_a_job_started_from(jobs, blobs, put, submission, clock, end):
    image = put(10)
    job = jobs.submit(submission(image=image))
    held = jobs.claim(WORKER, ["foal"], 60)
    if end == "cancelled":
        jobs.request_cancel(job.id)
    _ = jobs.fail(held, WORKER, "x", "y") if end == "failed" else jobs.complete(held, WORKER, {})
    assert jobs.get(job.id).status == end
    clock.now += DAY
    assert expire(jobs, blobs, older_than=DAY / 2) == Freed(1, 1, 10)


def test_a_blob_whose_job_is_on_its_way_is_left_alone(jobs, blobs, put, submission, clock):
    upload = put(10)
    clock.now += 3000
    assert expire(jobs, blobs) == Freed(0, 0, 0)
    job = jobs.submit(submission(image=upload))
    clock.now += DAY
    assert expire(jobs, blobs) == Freed(0, 0, 0) and blobs.exists(upload)
    jobs.delete(job.id)
    assert expire(jobs, blobs) == Freed(0, 1, 10)


def test_what_was_put_again_is_young_again(jobs, blobs, put, clock):
    put(10)
    clock.now += DAY
    name = put(10)
    assert expire(jobs, blobs) == Freed(0, 0, 0) and blobs.exists(name)


def test_a_job_submitted_between_the_look_and_the_deed_keeps_its_blob(jobs, blobs, put, submission, clock, monkeypatch):
    old, late = sorted([put(10, b"a"), put(20, b"b")])
    clock.now += DAY
    listing = blobs.stored

    def stored():
        found = sorted(listing(), key=lambda blob: blob.hash)
        jobs.submit(submission(image=late))
        return iter(found)

    monkeypatch.setattr(blobs, "stored", stored)
    assert expire(jobs, blobs).blobs == 1
    assert blobs.exists(late) and not blobs.exists(old)


def test_jobs_expire_when_they_said_they_would(database_url, blobs, submission, clock):
    jobs = Jobs(database_url, clock=clock, keep_seconds=10 * DAY)
    job = jobs.submit(submission())
    assert job.expires_at is None
    held = jobs.claim(WORKER, ["foal"], 60)
    assert held is not None and jobs.complete(held, WORKER, {})
    assert jobs.get(job.id).expires_at == clock.now + 10 * DAY
    clock.now += 10 * DAY - 1
    assert expire(jobs, blobs).jobs == 0
    clock.now += 1
    assert expire(jobs, blobs).jobs == 1
    jobs.close()


def test_rests_of_killed_puts_go_too(jobs, blobs, tmp_path, clock):
    rest = tmp_path / "blobs" / "incoming" / "rest"
    rest.write_bytes(b"half")
    expire(jobs, blobs)
    assert rest.exists()
    clock.now += DAY
    expire(jobs, blobs)
    assert not rest.exists()


def test_many_jobs_go_in_parts(jobs, blobs, submission, clock, monkeypatch):
    monkeypatch.setattr("happyhorse.server.retention._AT_ONCE", 3)
    for job in jobs.submit_all([submission(seed=seed) for seed in range(8)]):
        jobs.request_cancel(job.id)
    clock.now += DAY
    assert expire(jobs, blobs, older_than=1).jobs == 8
    assert jobs.counts()["cancelled"] == 0
