import concurrent.futures
import dataclasses
import json
import signal
import threading

import pytest
from sqlalchemy import func, select, text

from happyhorse.errors import ConfigError
from happyhorse.server.jobs import Jobs
from happyhorse.server.records import (
    STATUSES,
    IdempotencyError,
    JobError,
    JobNotFoundError,
    JobStoreError,
    Webhook,
    is_job_id,
)

MODELS = ["foal"]


def claimed(jobs, worker="ann", lease=60):
    job = jobs.claim(worker, MODELS, lease)
    assert job is not None
    return job


def kinds(jobs, job):
    return [event.kind for event in jobs.events_after(job)]


def at_once(count, work):
    """Calls work(0), work(1), ... in threads that begin together; their results."""
    gate = threading.Barrier(count)

    def run(number):
        gate.wait()
        return work(number)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# ------------------------------------------------------------------------------------------------- a job's whole life
def test_a_job_is_submitted_claimed_and_completed(jobs, submission, clock):
    webhook = Webhook("https://example.org/hook", "key")
    wish = submission(owner="ann", group="g", webhook=webhook, dialect="dashscope", remixed_from=None)
    job = jobs.submit(wish)
    assert is_job_id(job.id) and job == jobs.get(job.id)
    assert (job.status, job.progress, job.attempts, job.created_at) == ("queued", 0.0, 0, clock.now)
    assert (job.owner, job.group, job.webhook, job.dialect, job.request) == (
        "ann",
        "g",
        webhook,
        "dashscope",
        wish.request,
    )

    clock.pass_by(5)
    held = claimed(jobs)
    assert (held.id, held.status, held.worker, held.attempts) == (job.id, "in_progress", "ann", 1)
    assert (held.started_at, held.lease_until) == (clock.now, clock.now + 60)
    clock.pass_by(50)
    assert jobs.heartbeat(held, "ann", 60, progress=37.5, stage="denoising")
    assert (jobs.get(job.id).progress, jobs.get(job.id).lease_until) == (37.5, clock.now + 60)

    result = {"video": "a" * 64, "bytes": 12, "timings": {"denoising": 1.5}}
    assert jobs.complete(held, "ann", result)
    done = jobs.get(job.id)
    assert (done.status, done.progress, done.result, done.completed_at) == ("completed", 100.0, result, clock.now)
    assert done.finished and done.error is None and done.expires_at is None
    assert jobs.claim("bob", MODELS, 60) is None


def test_every_change_is_an_event_with_a_number(jobs, submission, clock):
    job = jobs.submit(submission())
    held = claimed(jobs)
    jobs.heartbeat(held, "ann", 60, progress=50, stage="denoising")
    jobs.heartbeat(held, "ann", 60, progress=50, stage="denoising")  # only the lease: no event
    jobs.complete(held, "ann", {})
    events = jobs.events_after(job.id)
    assert [event.sequence for event in events] == [1, 2, 3, 4]
    assert [event.kind for event in events] == ["queued", "started", "progress", "completed"]
    assert events[2].data == {"status": "in_progress", "progress": 50.0, "stage": "denoising", "attempt": 1}
    assert jobs.events_after(job.id, 2, limit=1) == events[2:3]
    assert jobs.last_sequences([job.id, "video_" + "0" * 24, "nonsense"]) == {job.id: 4}
    assert jobs.events_after("nonsense") == []


def test_jobs_survive_the_process_that_accepted_them(database_url, submission, clock):
    first = Jobs(database_url, clock=clock)
    job = first.submit(submission())
    first.close()
    assert claimed(Jobs(database_url, clock=clock)).id == job.id


def test_the_oldest_job_of_the_asked_models_comes_first(jobs, submission):
    other = jobs.submit(submission(model="magihuman"))
    mine = [jobs.submit(submission()).id for _ in range(5)]
    assert [claimed(jobs).id for _ in range(5)] == mine
    assert jobs.claim("ann", MODELS, 60) is None and jobs.claim("ann", [], 60) is None
    found = jobs.claim("ann", ["foal", "magihuman"], 60)
    assert found is not None and found.id == other.id


@pytest.mark.parametrize("prompt", ["nul \0", "half a pair \ud800", "emoji 😀", "ピアノ"])
def test_any_prompt_comes_back_as_it_was(jobs, submission, prompt):
    assert jobs.get(jobs.submit(submission(prompt=prompt)).id).request["prompt"] == prompt


def test_failures_end_a_job_or_send_it_back(jobs, submission):
    job = jobs.submit(submission(attempts_max=2))
    held = claimed(jobs)
    assert jobs.fail(held, "ann", "out_of_memory", "too large", retry=True)
    assert (jobs.get(job.id).status, jobs.get(job.id).error, jobs.get(job.id).progress) == ("queued", None, 0.0)
    again = claimed(jobs)
    assert again.attempts == 2
    assert jobs.fail(again, "ann", "out_of_memory", "too large", retry=True)  # attempts are used up
    ended = jobs.get(job.id)
    assert (ended.status, ended.error) == ("failed", {"code": "out_of_memory", "message": "too large"})
    assert kinds(jobs, job.id) == ["queued", "started", "retried", "started", "failed"]
    assert [event.data.get("error") for event in jobs.events_after(job.id)][2] == ended.error


def test_a_worker_that_is_told_to_stop_gives_its_job_back_uncounted(jobs, submission):
    job = jobs.submit(submission(attempts_max=1))
    held = claimed(jobs)
    assert jobs.release(held, "ann")
    assert not jobs.complete(held, "ann", {})
    again = claimed(jobs, "bob")
    assert again.id == job.id and jobs.complete(again, "bob", {})
    assert kinds(jobs, job.id) == ["queued", "started", "released", "started", "completed"]


# ------------------------------------------------------------------------------------------------------------- leases
def test_a_lost_workers_job_is_taken_up_again_once(jobs, submission, clock):
    job = jobs.submit(submission())
    late = claimed(jobs, lease=60)
    clock.pass_by(59)
    assert jobs.claim("bob", MODELS, 60) is None
    clock.pass_by(2)
    again = claimed(jobs, "bob")
    assert (again.id, again.attempts, again.worker) == (job.id, 2, "bob")
    assert jobs.claim("cay", MODELS, 60) is None

    assert not jobs.heartbeat(late, "ann", 60, progress=90)
    assert not jobs.complete(late, "ann", {"video": "late"})
    assert not jobs.fail(late, "ann", "late", "late") and not jobs.release(late, "ann")
    assert jobs.complete(again, "bob", {"video": "good"})
    assert not jobs.complete(late, "ann", {"video": "late"})
    assert jobs.get(job.id).result == {"video": "good"}
    assert kinds(jobs, job.id) == ["queued", "started", "lost", "started", "completed"]


def test_the_same_worker_cannot_complete_an_attempt_that_it_lost(jobs, submission, clock):
    jobs.submit(submission())
    late = claimed(jobs, "ann", 10)
    clock.pass_by(11)
    again = claimed(jobs, "ann", 10)
    assert not jobs.complete(late, "ann", {"video": "late"})
    assert jobs.complete(again, "ann", {"video": "good"})


def test_heartbeats_keep_a_job_and_a_late_one_is_not_too_late_before_others_come(jobs, submission, clock):
    jobs.submit(submission())
    held = claimed(jobs, lease=10)
    for _ in range(5):
        clock.pass_by(9)
        assert jobs.heartbeat(held, "ann", 10)
    clock.pass_by(11)
    assert jobs.heartbeat(held, "ann", 10)
    assert jobs.claim("bob", MODELS, 10) is None


def test_a_job_whose_workers_vanish_again_and_again_fails(jobs, submission, clock):
    job = jobs.submit(submission(attempts_max=2))
    for _ in range(2):
        claimed(jobs, lease=10)
        clock.pass_by(11)
    assert jobs.claim("bob", MODELS, 10) is None
    ended = jobs.get(job.id)
    assert ended.status == "failed" and ended.error is not None
    assert ended.error == {"code": "worker_lost", "message": "the worker stopped answering in attempt 2 of 2"}


def test_a_server_without_workers_settles_what_they_left(jobs, submission, clock):
    job = jobs.submit(submission())
    claimed(jobs, lease=10)
    assert jobs.settle_lost() == 0
    clock.pass_by(11)
    assert jobs.settle_lost() == 1
    assert jobs.get(job.id).status == "queued" and jobs.position(job.id) == 0


def test_completing_twice_is_told_the_same_both_times(jobs, submission):
    job = jobs.submit(submission())
    held = claimed(jobs)
    assert jobs.complete(held, "ann", {"n": 1}) and jobs.complete(held, "ann", {"n": 1})
    assert kinds(jobs, job.id).count("completed") == 1
    assert not jobs.heartbeat(held, "ann", 60) and not jobs.fail(held, "ann", "a", "b")


def test_progress_stays_between_0_and_100_and_stages_are_text(jobs, submission):
    job = jobs.submit(submission())
    held = claimed(jobs)
    assert jobs.heartbeat(held, "ann", 60, progress=140, stage="x\0" * 100)
    assert (jobs.get(job.id).progress, jobs.get(job.id).stage) == (100.0, "x" * 64)
    assert jobs.heartbeat(held, "ann", 60, progress=-1)
    assert jobs.get(job.id).progress == 0.0


# ------------------------------------------------------------------------------------------------------------ batches
def test_previews_that_differ_in_prompt_and_seed_come_together(jobs, submission):
    alike = [jobs.submit(submission(seed=seed, prompt=f"ball {seed}")).id for seed in range(3)]
    others = [submission(size="512x512"), submission(seconds=4), submission(steps=9), submission(image="b" * 64)]
    others += [submission(kind="render"), submission(preview="64x64")]
    alone = [jobs.submit(other).id for other in others]
    alike += [jobs.submit(submission(seed=3)).id]
    assert [job.id for job in jobs.claim_batch("ann", MODELS, 60, most=3)] == alike[:3]
    assert [[job.id for job in jobs.claim_batch("ann", MODELS, 60, most=8)] for _ in alone] == [
        [name] for name in alone
    ]
    batch = jobs.claim_batch("ann", MODELS, 60, most=8)
    assert [job.id for job in batch] == alike[3:]
    assert all(jobs.complete(job, "ann", {}) for job in batch)
    assert jobs.claim_batch("ann", MODELS, 60, most=8) == []


def test_a_job_that_was_attempted_before_comes_alone(jobs, submission, clock):
    names = [jobs.submit(submission(seed=seed)).id for seed in range(3)]
    claimed(jobs, lease=10)
    clock.pass_by(11)
    assert [job.id for job in jobs.claim_batch("bob", MODELS, 60, most=8)] == names[:1]
    assert [job.id for job in jobs.claim_batch("bob", MODELS, 60, most=8)] == names[1:]


# ---------------------------------------------------------------------------------------------------------- cancelling
def test_a_waiting_job_is_cancelled_at_once(jobs, submission, clock):
    job = jobs.submit(submission())
    cancelled = jobs.request_cancel(job.id)
    assert (cancelled.status, cancelled.completed_at) == ("cancelled", clock.now)
    assert jobs.claim("ann", MODELS, 60) is None
    assert jobs.request_cancel(job.id) == cancelled
    assert kinds(jobs, job.id) == ["queued", "cancelled"]


def test_the_worker_of_a_running_job_is_told_to_stop(jobs, submission):
    job = jobs.submit(submission())
    held = claimed(jobs)
    assert not jobs.cancelled(held, "ann")  # nobody asked for it
    asked = jobs.request_cancel(job.id)
    assert (asked.status, asked.cancel_requested) == ("in_progress", True)
    assert jobs.request_cancel(job.id) == asked
    assert not jobs.heartbeat(held, "ann", 60, progress=50)
    assert jobs.cancelled(held, "ann") and not jobs.cancelled(held, "ann")
    assert jobs.get(job.id).status == "cancelled"
    assert kinds(jobs, job.id) == ["queued", "started", "cancel_requested", "cancelled"]


@pytest.mark.parametrize("way", ["complete", "fail", "release", "vanish"])
def test_once_it_was_asked_for_every_end_is_a_cancellation(jobs, submission, clock, way):
    job = jobs.submit(submission())
    held = claimed(jobs)
    jobs.request_cancel(job.id)
    if way == "complete":
        assert not jobs.complete(held, "ann", {"video": "a" * 64})
    elif way == "fail":
        jobs.fail(held, "ann", "x", "y", retry=True)
    elif way == "release":
        jobs.release(held, "ann")
    else:
        clock.pass_by(61)
        assert jobs.claim("bob", MODELS, 60) is None
    ended = jobs.get(job.id)
    assert (ended.status, ended.result, ended.error) == ("cancelled", None, None)


def test_what_is_finished_cannot_be_cancelled(jobs, submission):
    job = jobs.submit(submission())
    jobs.complete(claimed(jobs), "ann", {})
    assert jobs.request_cancel(job.id).status == "completed"


# ----------------------------------------------------------------------------------------------- asking the right ones
def test_jobs_of_others_are_not_there(jobs, submission):
    job = jobs.submit(submission(owner="ann"))
    assert jobs.get(job.id, owner="ann") == job
    for ask in (jobs.get, jobs.request_cancel, jobs.delete):
        with pytest.raises(JobNotFoundError, match="there is no job 'video_"):
            ask(job.id, owner="bob")
    assert jobs.page("bob").jobs == () and jobs.page("ann").jobs == (job,)
    assert jobs.counts("bob")["queued"] == 0 and jobs.counts("ann")["queued"] == 1


@pytest.mark.parametrize("name", ["", "video_1", "video_" + "g" * 24, "../../etc", "video_\0" + "0" * 23, "x" * 10_000])
def test_names_that_are_no_ids_never_reach_the_database(jobs, name):
    for ask in (jobs.get, jobs.request_cancel, jobs.delete, jobs.position):
        with pytest.raises(JobNotFoundError):
            ask(name)


def test_a_deleted_job_takes_its_events_with_it_and_stops_its_worker(jobs, submission):
    job = jobs.submit(submission())
    held = claimed(jobs)
    jobs.delete(job.id)
    assert jobs.events_after(job.id) == []
    assert not jobs.heartbeat(held, "ann", 60) and not jobs.complete(held, "ann", {})
    with pytest.raises(JobNotFoundError, match="it was never submitted, or it was deleted"):
        jobs.get(job.id)
    with pytest.raises(JobNotFoundError):
        jobs.delete(job.id)


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_join_without_gaps_while_jobs_come_and_go(jobs, submission, order):
    names = [jobs.submit(submission()).id for _ in range(7)]
    expected = names if order == "asc" else names[::-1]
    seen, after, more = [], None, True
    while more:
        page = jobs.page(after=after, limit=3, order=order)
        seen += [job.id for job in page.jobs]
        after, more = seen[-1], page.more
        for name in seen:  # a listing that deletes what it has seen, the cursor too
            if name in {job.id for job in page.jobs}:
                jobs.delete(name)
        if order == "desc":
            jobs.submit(submission())  # newer than all pages that are still to come
    assert seen == expected


def test_pages_of_a_group_or_of_a_status(jobs, submission):
    group = jobs.submit_all([submission(group="g", seed=seed) for seed in range(4)])
    jobs.submit(submission())
    claimed(jobs)
    assert list(jobs.page(group="g", order="asc", status="queued").jobs) == group[1:]
    assert jobs.page(status="in_progress").jobs[0].id == group[0].id


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"after": "x"}, "after is 'x'"),
        ({"limit": 0}, "limit is 0; it must be 1 to 100"),
        ({"limit": 101}, "limit is 101"),
        ({"order": "up"}, "order is 'up'; it must be asc or desc"),
        ({"status": "done"}, "status is 'done'"),
    ],
)
def test_impossible_pages_are_refused(jobs, asked, said):
    with pytest.raises(JobError, match=said):
        jobs.page(**asked)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "dream"}, "kind is 'dream'; it must be one of generate, render, extend"),
        ({"attempts_max": 0}, "attempts_max is 0"),
        ({"model": "m" * 129}, "model has 129 characters; the limit is 128"),
        ({"owner": "a\0"}, "owner holds characters that are not text"),
        ({"idempotency_key": "\ud800"}, "idempotency_key holds characters"),
        ({"idempotency_key": ""}, "idempotency_key is empty"),
        ({"idempotency_key": "k" * 256}, "idempotency_key has 256 characters; the limit is 255"),
        ({"webhook": Webhook("https://a/" + "b" * 2048)}, r"webhook\.url has 2058 characters; the limit is 2048"),
        ({"prompt": float("nan")}, "request is not JSON"),
        ({"prompt": b"bytes"}, "request is not JSON"),
        ({"prompt": "x" * (1 << 20)}, "request has 10486.. bytes; the limit is 1048576"),
        ({"remixed_from": "video_" + "0" * 24}, "there is no job"),
        ({"remixed_from": "nonsense"}, "there is no job"),
    ],
)
def test_submissions_that_cannot_be_kept_are_refused_by_field(jobs, submission, values, said):
    with pytest.raises(JobError, match=said):
        jobs.submit_all([submission(), submission(**values)])
    assert jobs.counts() == dict.fromkeys(STATUSES, 0)  # all or none


def test_the_queue_is_counted(jobs, submission, clock):
    assert jobs.oldest_waiting() == 0.0
    names = [jobs.submit(submission()).id for _ in range(3)]
    jobs.submit(submission(model="other"))
    clock.pass_by(30)
    assert jobs.oldest_waiting() == 30.0
    assert [jobs.position(name) for name in names] == [0, 1, 2]
    held = claimed(jobs)
    assert [jobs.position(name) for name in names] == [None, 0, 1]
    jobs.complete(held, "ann", {})
    assert jobs.counts() == {"queued": 3, "in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0}


def test_ids_grow_even_if_the_clock_does_not(jobs, submission, clock):
    names = [jobs.submit(submission()).id for _ in range(20)]
    clock.pass_by(-100)
    names += [jobs.submit(submission()).id for _ in range(20)]
    assert names == sorted(names) and len(set(names)) == 40


# --------------------------------------------------------------------------------------------------------- idempotency
def test_a_repeated_key_finds_the_first_job(jobs, submission):
    first = jobs.submit(submission(idempotency_key="k"))
    held = claimed(jobs)
    again = jobs.submit(submission(idempotency_key="k"))
    assert again.id == first.id and again.status == "in_progress"
    jobs.complete(held, "ann", {})
    assert jobs.submit(submission(idempotency_key="k")).status == "completed"
    assert jobs.submit(submission(idempotency_key="k", owner="bob")).id != first.id
    assert jobs.submit(submission()).id != jobs.submit(submission()).id
    assert kinds(jobs, first.id).count("queued") == 1


@pytest.mark.parametrize(
    "other", [{"seed": 8}, {"model": "other"}, {"kind": "render"}, {"webhook": Webhook("https://a")}]
)
def test_a_key_with_another_request_is_a_conflict(jobs, submission, other):
    first = jobs.submit(submission(idempotency_key="k"))
    with pytest.raises(IdempotencyError, match=f"'k' was used for {first.id} with another request"):
        jobs.submit(submission(idempotency_key="k", **other))


def test_drawn_values_do_not_make_a_repeated_request_another_one(jobs, submission):
    first = jobs.submit(submission(idempotency_key="k", seed=1, fingerprint="what was sent"))
    assert jobs.submit(submission(idempotency_key="k", seed=2, fingerprint="what was sent")) == first
    with pytest.raises(IdempotencyError):
        jobs.submit(submission(idempotency_key="k", seed=1, fingerprint="something else"))


def test_a_remix_keeps_its_key_when_its_source_is_gone(jobs, submission):
    source = jobs.submit(submission())
    remix = jobs.submit(submission(remixed_from=source.id, idempotency_key="k"))
    jobs.delete(source.id)
    assert jobs.submit(submission(remixed_from=source.id, idempotency_key="k")) == remix
    with pytest.raises(JobNotFoundError):
        jobs.submit(submission(remixed_from=source.id, idempotency_key="another"))


# --------------------------------------------------------------------------------------------------------------- races
def test_twenty_threads_with_one_key_make_one_job(jobs, submission):
    found = at_once(20, lambda _: jobs.submit(submission(idempotency_key="k")).id)
    assert len(set(found)) == 1 and jobs.counts()["queued"] == 1
    assert len(jobs.events_after(found[0])) == 1


def test_twenty_threads_with_one_key_and_two_requests_make_one_job(jobs, submission):
    def submit(number):
        try:
            return jobs.submit(submission(idempotency_key="k", seed=number % 2)).request["seed"]
        except IdempotencyError:
            return None

    found = at_once(20, submit)
    assert jobs.counts()["queued"] == 1 and found.count(None) == 10
    assert len(set(found) - {None}) == 1


def test_workers_that_claim_at_the_same_time_get_different_jobs(jobs, submission):
    names = {jobs.submit(submission()).id for _ in range(5)}
    found = at_once(12, lambda number: jobs.claim(f"w{number}", MODELS, 60))
    assert {job.id for job in found if job} == names and found.count(None) == 7


def test_batches_claimed_at_the_same_time_share_nothing(jobs, submission):
    names = sorted(jobs.submit(submission(seed=seed)).id for seed in range(12))
    found = at_once(6, lambda number: jobs.claim_batch(f"w{number}", MODELS, 60, most=4))
    rest = jobs.claim_batch("last", MODELS, 60, most=12)  # PostgreSQL passes over rows that another one is looking at
    assert sorted(job.id for batch in (*found, rest) for job in batch) == names


def test_an_expired_lease_is_taken_up_by_one_of_many(jobs, submission, clock):
    job = jobs.submit(submission())
    claimed(jobs, lease=10)
    clock.pass_by(11)
    found = [job for job in at_once(10, lambda number: jobs.claim(f"w{number}", MODELS, 60)) if job]
    found += [job for job in [jobs.claim("last", MODELS, 60)] if job]
    assert [job.attempts for job in found] == [2]
    assert kinds(jobs, job.id) == ["queued", "started", "lost", "started"]


def test_cancel_against_complete_has_one_winner(jobs, submission):
    for _ in range(10):
        job = jobs.submit(submission())
        held = claimed(jobs)
        race = [lambda held=held: jobs.complete(held, "ann", {}), lambda job=job: jobs.request_cancel(job.id)]
        completed, cancelled = at_once(2, lambda number, race=race: race[number]())
        ended = jobs.get(job.id).status
        assert ended == ("completed" if completed else "cancelled")
        assert cancelled.finished == completed
        assert sum(kind in ("completed", "cancelled") for kind in kinds(jobs, job.id)) == 1


def test_heartbeat_against_settling_leaves_one_owner(jobs, submission, clock):
    for _ in range(10):
        jobs.submit(submission())
        held = claimed(jobs, lease=10)
        clock.pass_by(11)
        race = [lambda held=held: jobs.heartbeat(held, "ann", 10), lambda: jobs.claim("bob", MODELS, 10)]
        alive, taken = at_once(2, lambda number, race=race: race[number]())
        taken = taken or jobs.claim("bob", MODELS, 10)
        assert alive == (taken is None)
        assert jobs.complete(held, "ann", {}) == alive
        assert taken is None or jobs.complete(taken, "bob", {})


def test_delete_against_remix_never_leaves_a_remix_without_its_source(jobs, submission):
    for _ in range(10):
        source = jobs.submit(submission())

        def remix(source=source):
            try:
                return jobs.submit(submission(remixed_from=source.id, video="c" * 64))
            except JobNotFoundError:
                return None

        race = [remix, lambda source=source: jobs.delete(source.id)]
        made, _ = at_once(2, lambda number, race=race: race[number]())
        assert made is None or jobs.get(made.id).remixed_from == source.id


# ----------------------------------------------------------------------------------------------------------- processes
WORKER = """
import sys, time
from happyhorse.server.jobs import Jobs
jobs = Jobs(sys.argv[1])
sys.stdin.readline()
while job := jobs.claim(sys.argv[2], ["foal"], 60):
    assert jobs.heartbeat(job, sys.argv[2], 60, progress=50)
    if jobs.complete(job, sys.argv[2], {}):
        print(job.id)
"""
HOLDER = """
import sys, time
from happyhorse.server.jobs import Jobs
job = Jobs(sys.argv[1]).claim("holder", ["foal"], float(sys.argv[2]))
print(job.id, flush=True)
time.sleep(100)
"""


def test_processes_that_open_a_new_database_and_work_share_the_jobs(database_url, submission, process):
    workers = [process(WORKER, database_url, f"w{number}") for number in range(3)]
    jobs = Jobs(database_url)  # all four make the tables at about the same time
    names = sorted(jobs.submit(submission()).id for _ in range(30))
    done = [name for worker in workers for name in worker.communicate("go\n")[0].split()]
    assert all(worker.returncode == 0 for worker in workers)
    assert sorted(done) == names and jobs.counts()["completed"] == 30
    jobs.close()


def test_the_job_of_a_killed_process_is_made_by_another_one(database_url, submission, process):
    jobs = Jobs(database_url)
    job = jobs.submit(submission())
    holder = process(HOLDER, database_url, 0.05)
    assert holder.stdout is not None and holder.stdout.readline().strip() == job.id
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    other = process(WORKER, database_url, "other")
    assert other.communicate("go\n")[0].split() == [job.id]
    assert kinds(jobs, job.id) == ["queued", "started", "lost", "started", "progress", "completed"]
    jobs.close()


def test_a_process_killed_within_a_transaction_leaves_nothing_of_it(database_url, submission, process):
    jobs = Jobs(database_url)
    code = """
    import os, signal, sys
    from sqlalchemy import update
    from happyhorse.server.jobs import Jobs
    from happyhorse.server.schema import jobs as table
    with Jobs(sys.argv[1]).database.write() as connection:
        connection.execute(update(table).values(status="completed"))
        print(connection.scalar(table.select()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    job = jobs.submit(submission())
    killed = process(code, database_url)
    assert killed.communicate()[0].strip() == job.id and killed.returncode == -signal.SIGKILL
    assert jobs.get(job.id).status == "queued"
    assert claimed(jobs).id == job.id  # and no lock stays behind
    jobs.close()


# ---------------------------------------------------------------------------------------------------- opening databases
def test_tables_of_a_newer_version_are_refused(database_url):
    jobs = Jobs(database_url)
    with jobs.database.write() as connection:
        connection.execute(text("UPDATE happyhorse_schema_version SET version = 99"))
    with pytest.raises(ConfigError, match="has tables of version 99, this happyhorse knows 1; update happyhorse"):
        Jobs(database_url)
    jobs.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://a:b@c/d", "the job database cannot be mysql"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
        ("sqlite:///a.db?mode=memory", "must be a file"),
        ("a b://c", "URL is not readable"),
        ("postgresql://host:port/name", "URL is not readable"),
    ],
)
def test_other_databases_are_refused(url, said):
    with pytest.raises(ConfigError, match=said):
        Jobs(url)


def test_a_server_that_does_not_answer_is_said_without_its_password():
    with pytest.raises(
        JobStoreError, match=r"the job database postgresql\+psycopg://ann:\*\*\*@127.0.0.1:1/x does not"
    ):
        Jobs("postgresql://ann:secret@127.0.0.1:1/x")


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "jobs.db").write_text("not a database, but a text that is long enough to be read as one" * 20)
    with pytest.raises(JobStoreError, match=r"jobs\.db cannot be opened: file is not a database"):
        Jobs(tmp_path / "jobs.db")


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path, submission, disk_of):
    jobs = Jobs(tmp_path / "deep" / "jobs.db")
    job = jobs.submit(submission())
    used = (tmp_path / "deep" / "jobs.db-wal").stat().st_size
    with disk_of(used), pytest.raises(JobStoreError, match="does not answer"):
        for _ in range(100):
            jobs.submit(submission(prompt="x" * 10_000))
    assert claimed(jobs).id == job.id
    jobs.close()


def test_connections_that_the_server_closed_are_replaced(jobs, submission):
    job = jobs.submit(submission())
    if not jobs.database.is_sqlite:
        with jobs.database.read() as one, jobs.database.read() as other:  # both go back into the pool
            others = select(func.pg_terminate_backend(text("pid"))).select_from(text("pg_stat_activity"))
            others = others.where(text("datname = current_database() AND pid <> pg_backend_pid()"))
            assert one.execute(others).all() == [(True,)] and other is not one
    assert claimed(jobs).id == job.id and jobs.get(job.id).status == "in_progress"


def test_records_are_json(jobs, submission):
    job = jobs.submit(submission(webhook=Webhook("https://a", "b")))
    assert json.loads(json.dumps(dataclasses.asdict(job)))["webhook"] == {"url": "https://a", "secret_id": "b"}
