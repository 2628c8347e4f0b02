import random
import threading

import pytest

from happyhorse.errors import ConfigError
from happyhorse.server.limits import Bucket, Limiter, LimitError, Limits, refilled, take

LIMITS = Limits(per_minute=60, burst=3, concurrent=2)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def admitted(limiter, name, times, limits=LIMITS):
    """How many of so many requests at once are let in."""
    count = 0
    for _ in range(times):
        try:
            limiter.admit(name, limits)
            count += 1
        except LimitError:
            pass
    return count


def test_a_bucket_gains_its_rate_up_to_its_size():
    bucket = Bucket(1.0, at=10)
    assert refilled(bucket, 10.5, LIMITS).tokens == pytest.approx(1.5)
    assert refilled(bucket, 1000, LIMITS).tokens == 3
    assert refilled(bucket, 5, LIMITS) == bucket, "a clock that goes back takes nothing away"


def test_taking_one_or_being_told_how_long_to_wait():
    bucket, wait = take(Bucket(1.0, at=10), 10, LIMITS)
    assert (bucket.tokens, wait) == (0, 0)
    bucket, wait = take(bucket, 10.25, LIMITS)
    assert wait == pytest.approx(0.75), "at one a second, and a quarter of a second gone"
    _, wait = take(bucket, 10.25 + wait, LIMITS)
    assert wait == 0


def test_a_burst_and_then_the_rate(clock):
    limiter = Limiter(clock)
    assert admitted(limiter, "key", 10) == 3
    clock.now += 2
    assert admitted(limiter, "key", 10) == 2
    clock.now += 3600
    assert admitted(limiter, "key", 10) == 3, "a long pause is worth no more than the burst"


def test_never_more_than_the_burst_and_the_rate_over_any_time(clock):
    limiter, rng, start = Limiter(clock), random.Random(1), 1000.0
    count = 0
    for _ in range(2000):
        clock.now += rng.expovariate(5)
        count += admitted(limiter, "key", 1)
        assert count <= LIMITS.burst + (clock.now - start) + 1e-6
    assert count > 0.95 * (clock.now - start), "and no less, if so many ask"


def test_the_wait_that_is_said_is_enough_and_not_too_long(clock):
    limiter = Limiter(clock)
    admitted(limiter, "key", 3)
    with pytest.raises(LimitError, match="60 requests a minute.*1 s") as refusal:
        limiter.admit("key", LIMITS)
    clock.now += refusal.value.seconds - 0.01
    assert admitted(limiter, "key", 1) == 0
    clock.now += 0.01
    assert admitted(limiter, "key", 1) == 1


def test_keys_have_nothing_to_do_with_each_other(clock):
    limiter = Limiter(clock)
    assert admitted(limiter, "a", 5) == 3
    assert admitted(limiter, "b", 5) == 3
    assert admitted(limiter, "c", 5, LIMITS.replace(burst=1)) == 1


def test_limits_that_change_count_at_once(clock):
    limiter = Limiter(clock)
    assert admitted(limiter, "key", 1) == 1
    assert admitted(limiter, "key", 5, LIMITS.replace(burst=1)) == 1


def test_so_many_at_once_and_no_more(clock):
    limiter = Limiter(clock)
    with limiter.slot("key", LIMITS), limiter.slot("other", LIMITS):
        second = limiter.slot("key", LIMITS)
        with second, pytest.raises(LimitError, match="2 requests of this key run already"), limiter.slot("key", LIMITS):
            pass
        with limiter.slot("key", LIMITS):
            pass


def test_a_request_that_fails_gives_its_place_back(clock):
    limiter = Limiter(clock)
    for _ in range(10):
        with pytest.raises(RuntimeError), limiter.slot("key", LIMITS):
            raise RuntimeError


def test_threads_together_get_what_one_would_get(clock):
    limiter = Limiter(clock)
    limits = Limits(per_minute=60, burst=100, concurrent=4)
    counts, running, most = [], [], []

    def work():
        counts.append(admitted(limiter, "key", 50, limits))
        for _ in range(50):
            try:
                with limiter.slot("key", limits):
                    running.append(1)
                    most.append(len(running))
                    running.pop()
            except LimitError:
                pass

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 100
    assert max(most) <= 4


def test_keys_that_are_idle_are_forgotten(clock):
    limiter = Limiter(clock)
    for number in range(20_000):
        limiter.admit(f"key {number}", LIMITS)
        clock.now += 0.05
    assert len(limiter) < 2100


def test_a_key_is_not_forgotten_while_it_has_something_to_remember(clock):
    limiter = Limiter(clock)
    admitted(limiter, "spent", 3, LIMITS.replace(per_minute=0.001))
    with limiter.slot("running", LIMITS), limiter.slot("running", LIMITS):
        for number in range(5000):
            limiter.admit(f"key {number}", LIMITS)
            clock.now += 1
        with pytest.raises(LimitError), limiter.slot("running", LIMITS):
            pass
    assert admitted(limiter, "spent", 1, LIMITS.replace(per_minute=0.001)) == 0


def test_a_flood_of_names_fills_no_memory(clock):
    limiter = Limiter(clock, names_max=500)
    with limiter.slot("running", LIMITS):
        for number in range(5000):
            limiter.admit(f"key {number}", LIMITS)
    assert len(limiter) <= 501
    assert admitted(limiter, "key 4999", 5) == 2, "the latest ones are those that are kept"


@pytest.mark.parametrize("change", [{"per_minute": 0}, {"burst": 0}, {"concurrent": 0}])
def test_limits_that_let_nothing_through_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        LIMITS.replace(**change)
