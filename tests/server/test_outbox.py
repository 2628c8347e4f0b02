import concurrent.futures

import pytest

from happyhorse.server.outbox import Outbox
from happyhorse.server.records import Webhook

HOOK = Webhook("https://example.org/hook", "secret-1")


@pytest.fixture
def outbox(jobs):
    return Outbox(jobs)


def complete(jobs, submission, **values):
    job = jobs.submit(submission(**values))
    held = jobs.claim("ann", ["foal"], 60)
    jobs.complete(held, "ann", {})
    return job.id


def test_a_message_is_owed_once_a_job_with_a_webhook_has_ended(jobs, outbox, submission):
    jobs.submit(submission(webhook=HOOK))
    complete(jobs, submission)  # takes the one with the webhook; the other has none
    notice = outbox.claim(30)
    assert notice is not None
    assert (notice.event, notice.attempt, notice.job.status, notice.job.webhook) == ("completed", 1, "completed", HOOK)
    assert notice.id == f"msg_{notice.job.id[6:]}_completed"
    assert outbox.claim(30) is None and outbox.owed() == 1
    assert outbox.close(notice, "200") and outbox.owed() == 0
    assert outbox.outcome(notice.job.id) == "200"
    assert not outbox.close(notice, "again")


@pytest.mark.parametrize("end", ["failed", "cancelled", "worker_lost"])
def test_every_end_is_told(jobs, outbox, submission, clock, end):
    job = jobs.submit(submission(webhook=HOOK, attempts_max=1))
    if end == "cancelled":
        jobs.request_cancel(job.id)
    else:
        held = jobs.claim("ann", ["foal"], 60)
        clock.pass_by(61)
        _ = jobs.settle_lost() if end == "worker_lost" else jobs.fail(held, "ann", "x", "y")
    notice = outbox.claim(30)
    assert notice is not None and notice.event == ("failed" if end == "worker_lost" else end)


def test_a_message_is_tried_again_later_under_the_same_name(jobs, outbox, submission, clock):
    complete(jobs, submission, webhook=HOOK)
    first = outbox.claim(30)
    assert outbox.retry(first, 5, "503")
    assert outbox.claim(30) is None and outbox.outcome(first.job.id) == "503"
    clock.pass_by(5)
    second = outbox.claim(30)
    assert (second.id, second.attempt) == (first.id, 2)


def test_the_message_of_a_killed_sender_goes_to_another_one(jobs, outbox, submission, clock):
    complete(jobs, submission, webhook=HOOK)
    killed = outbox.claim(30)
    clock.pass_by(31)
    assert outbox.claim(30).attempt == 2
    assert not outbox.close(killed, "late") and not outbox.retry(killed, 1, "late")


def test_the_longest_waiting_comes_first_and_each_to_one_sender(jobs, outbox, submission, clock):
    names = []
    for _ in range(6):
        names.append(complete(jobs, submission, webhook=HOOK))
        clock.pass_by(1)
    assert outbox.claim(30).job.id == names[0]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [notice.job.id for notice in pool.map(lambda _: outbox.claim(30), range(8)) if notice]
    while notice := outbox.claim(30):
        found.append(notice.job.id)
    assert sorted(found) == names[1:]


def test_a_deleted_jobs_message_goes_with_it(jobs, outbox, submission):
    job = complete(jobs, submission, webhook=HOOK)
    jobs.delete(job)
    assert outbox.claim(30) is None and outbox.owed() == 0 and outbox.outcome(job) == ""
