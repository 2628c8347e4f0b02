import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.server.jobs import Jobs
from happyhorse.server.presence import GONE_AFTER, Presence


def test_workers_are_here_while_they_say_so(jobs: Jobs, clock) -> None:
    presence = Presence(jobs)
    presence.say("a", "cpu", 1)
    clock.pass_by(GONE_AFTER / 2)
    presence.say("b", "cuda:0", 2)
    assert [(worker.name, worker.device, worker.pid) for worker in presence.here()] == [
        ("a", "cpu", 1),
        ("b", "cuda:0", 2),
    ]
    clock.pass_by(GONE_AFTER / 2 + 1)
    assert [worker.name for worker in presence.here()] == ["b"]
    presence.say("a", "cpu", 1)
    presence.leave("b")
    assert [worker.name for worker in Presence(jobs).here()] == ["a"]
