import threading
import time

import pytest
from sqlalchemy import create_engine, event, text

from happyhorse.server.commits import SharedCommits
from happyhorse.server.database import Database, _sqlite_engine, make_url


@pytest.fixture
def engine(tmp_path):
    engine = _sqlite_engine(make_url(f"sqlite:///{tmp_path}/a.db"), "FULL")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number INTEGER UNIQUE)"))
    yield engine
    engine.dispose()


@pytest.fixture
def commits(engine):
    return SharedCommits(engine.execution_options(writes=True))


@pytest.fixture
def committed(engine):
    """How often SQLite was told to commit since."""
    told = []
    event.listen(engine, "commit", lambda connection: told.append(connection))
    return told


def add(commits, number):
    with commits.part() as connection:
        connection.execute(text(f"INSERT INTO numbers VALUES ({number})"))


def numbers(engine):
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT number FROM numbers ORDER BY number")))


def in_line(commits, count, work):
    """work(0) has its turn when work(1) ... work(count - 1) wait for theirs; what each raised, or None."""
    outcomes = [None] * count
    waiting = threading.Event()

    def run(number):
        try:
            if number == 0:
                with commits.part() as connection:
                    waiting.wait(30)
                    work(connection, 0)
            else:
                with commits.part() as connection:
                    work(connection, number)
        except Exception as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    threads[0].start()
    while not commits._turn.locked():
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while commits._waiting < count - 1:
        time.sleep(0.001)
    waiting.set()
    for thread in threads:
        thread.join()
    return outcomes


def insert(connection, number):
    connection.execute(text(f"INSERT INTO numbers VALUES ({number})"))


def test_one_after_the_other_each_commits(commits, engine, committed):
    for number in range(3):
        add(commits, number)
        assert numbers(engine) == list(range(number + 1))
    assert len(committed) == 3


def test_threads_that_wait_share_a_commit(commits, engine, committed):
    assert in_line(commits, 12, insert) == [None] * 12
    assert len(committed) == 1 and numbers(engine) == list(range(12))


def test_after_some_parts_others_may_write(commits, engine, committed, monkeypatch):
    monkeypatch.setattr("happyhorse.server.commits._PARTS_MAX", 5)
    assert in_line(commits, 12, insert) == [None] * 12
    assert len(committed) == 3 and numbers(engine) == list(range(12))


def test_a_part_that_fails_is_undone_alone(commits, engine):
    def work(connection, number):
        insert(connection, number)
        if number % 3 == 0:
            raise KeyError(number)

    outcomes = in_line(commits, 9, work)
    assert [isinstance(outcome, KeyError) for outcome in outcomes] == [number % 3 == 0 for number in range(9)]
    assert numbers(engine) == [1, 2, 4, 5, 7, 8]


def test_a_commit_that_fails_fails_for_all(commits, engine):
    def refuse(connection):
        raise OSError("no disk")

    event.listen(engine, "commit", refuse)
    outcomes = in_line(commits, 6, insert)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    event.remove(engine, "commit", refuse)
    assert numbers(engine) == []
    add(commits, 7)
    assert numbers(engine) == [7]


def test_what_sqlite_undid_by_itself_is_told_to_all_who_had_a_part_in_it(commits, engine):
    undone = threading.Event()

    def work(connection, number):
        insert(connection, number)
        if number and not undone.is_set():
            undone.set()
            connection.connection.rollback()  # as SQLite does by itself when the disk is full

    outcomes = in_line(commits, 6, work)
    lost = {number for number, outcome in enumerate(outcomes) if outcome is not None}
    assert 0 in lost and len(lost) == 2  # the first one, and the one that found the disk full
    assert numbers(engine) == sorted(set(range(6)) - lost)


def test_nobody_waits_for_a_thread_that_never_comes(commits, engine, monkeypatch):
    monkeypatch.setattr("happyhorse.server.commits._PATIENCE_SECONDS", 0.1)
    commits._waiting += 1  # counted, then interrupted
    add(commits, 1)
    assert numbers(engine) == [1]


def test_a_turn_alone_comes_after_what_is_open_is_on_the_disk(commits, engine):
    commits._waiting += 1
    opened = threading.Thread(target=add, args=(commits, 1))
    opened.start()
    with commits.alone():
        seen = numbers(engine)
    opened.join()
    assert seen in ([], [1]) and numbers(engine) == [1] and commits._open is None


def test_only_what_must_last_waits_for_the_disk(database_url):
    database = Database(database_url)
    ask, answers = ("PRAGMA synchronous", (2, 1)) if database.is_sqlite else ("SHOW synchronous_commit", ("on", "off"))
    for durable, answer in zip((True, False), answers, strict=True):
        with database.write(durable) as connection:
            assert connection.scalar(text(ask)) == answer
    with database.write() as connection:  # the same connection as before, perhaps
        assert connection.scalar(text(ask)) == answers[0]
    database.close()


def test_another_process_waits_for_its_turn_to_write(engine, commits, tmp_path):
    other = create_engine(f"sqlite:///{tmp_path}/a.db", connect_args={"timeout": 30})
    with commits.part() as connection:
        insert(connection, 1)
        with other.connect() as reader:
            assert reader.scalar(text("SELECT count(*) FROM numbers")) == 0
    with other.connect() as reader:
        assert reader.scalar(text("SELECT count(*) FROM numbers")) == 1
    other.dispose()
