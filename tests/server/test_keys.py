import json
import os
import re
import stat
import subprocess
import sys
import threading

import pytest

from happyhorse.errors import ConfigError, OutputError
from happyhorse.server import keys as keys_module
from happyhorse.server.keys import FILE, KeyRefusedError, Keys, ScopeError, key_id, needs_keys
from happyhorse.server.limits import Limits


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(tmp_path, clock):
    return Keys(tmp_path, clock=clock)


def test_a_key_is_good_for_its_scopes_only(keys):
    secret = keys.create("studio", ["read", "generate"])
    assert re.fullmatch(r"hh_[A-Za-z0-9]{32}", secret)
    assert keys.check(secret, "generate").name == "studio"
    assert keys.check(secret, "read").scopes == ("generate", "read")
    with pytest.raises(ScopeError, match="may generate, read; this request needs a key that may delete"):
        keys.check(secret, "delete")


def test_admin_may_do_everything(keys):
    secret = keys.create("me", ["admin"])
    for scope in keys_module.SCOPES:
        assert keys.check(secret, scope).id == key_id(secret)


def test_the_secret_is_nowhere_on_the_disk(keys, tmp_path):
    secret = keys.create("studio", ["read"])
    keys.check(secret, "read")
    for path in tmp_path.iterdir():
        assert secret[len("hh_") + 8 :] not in path.read_text()
    assert key_id(secret) in (tmp_path / FILE).read_text()


def test_only_the_servers_user_reads_the_file(keys, tmp_path):
    before = os.umask(0)
    try:
        keys.create("studio", ["read"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600


def test_equal_secrets_would_not_look_equal(keys, tmp_path):
    keys.create("a", ["read"])
    keys.create("b", ["read"])
    first, second = json.loads((tmp_path / FILE).read_text())["keys"]
    assert first["salt"] != second["salt"]
    assert first["digest"] != second["digest"]


@pytest.mark.parametrize(
    "change",
    [
        lambda secret: secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        lambda secret: secret[:3] + "00000000" + secret[11:],
        lambda secret: secret[3:],
        lambda secret: secret + "a",
        lambda secret: secret + "\n",
        lambda secret: secret.replace(secret[12], "é"),
        lambda secret: key_id(secret),
        lambda secret: "hh_" + "\ud800" * 32,
        lambda secret: "x" * 1_000_000,
        lambda secret: "",
    ],
)
def test_what_is_not_exactly_the_key_is_no_key(keys, change):
    secret = keys.create("studio", ["admin"])
    with pytest.raises(KeyRefusedError, match="not known"):
        keys.check(change(secret), "read")


def test_without_a_file_no_key_is_good(keys):
    assert keys.list() == ()
    with pytest.raises(KeyRefusedError):
        keys.check("hh_" + "a" * 32, "read")


def test_an_empty_record_lets_nobody_in(keys):
    keys.create("studio", ["admin"])
    with pytest.raises(KeyRefusedError):
        keys.check("hh_" + "0" * 32, "read")


def test_a_revoked_key_is_refused_at_the_next_request_of_another_process(tmp_path, clock):
    here, there = Keys(tmp_path, clock=clock), Keys(tmp_path, clock=clock)
    secret = here.create("studio", ["read"])
    assert there.check(secret, "read").name == "studio"
    revoked = here.revoke(secret[:11])
    assert revoked.revoked_at == clock.now
    for keys in (here, there):
        with pytest.raises(KeyRefusedError, match=f"hh_{key_id(secret)}.*revoked"):
            keys.check(secret, "read")
    assert [key.revoked_at for key in there.list()] == [clock.now]


def test_revoking_again_keeps_the_first_time(keys, clock):
    secret, first = keys.create("studio", ["read"]), clock.now
    keys.revoke(key_id(secret))
    clock.now += 100
    assert keys.revoke(key_id(secret)).revoked_at == first


def test_revoking_what_is_not_there(keys):
    with pytest.raises(ConfigError, match="no API key abcdefgh"):
        keys.revoke("abcdefgh")


def test_a_key_ends_when_it_was_made_to_end(keys, clock):
    secret = keys.create("guest", ["vote"], lifetime=3600)
    clock.now += 3599
    keys.check(secret, "vote")
    clock.now += 1
    with pytest.raises(KeyRefusedError, match="expired"):
        keys.check(secret, "vote")


def test_a_key_has_limits_of_its_own_or_those_of_the_server(keys):
    limits = Limits(per_minute=5, burst=2, concurrent=1)
    slow, plain = keys.create("slow", ["read"], limits=limits), keys.create("plain", ["read"])
    assert keys.check(slow, "read").limits == limits
    assert keys.check(plain, "read").limits is None


def test_last_use_is_known_to_the_hour_and_seldom_written(keys, clock, tmp_path):
    secret, made = keys.create("studio", ["read"]), clock.now
    assert keys.list()[0].last_used_at is None
    keys.check(secret, "read")
    written = (tmp_path / FILE).stat().st_mtime_ns
    clock.now += 3500
    keys.check(secret, "read")
    assert (keys.list()[0].last_used_at, (tmp_path / FILE).stat().st_mtime_ns) == (made, written)
    clock.now += 100
    keys.check(secret, "read")
    assert keys.list()[0].last_used_at == clock.now


def test_a_full_disk_does_not_stop_requests(keys, monkeypatch):
    secret = keys.create("studio", ["read"])

    def full(*_):
        raise OutputError("no space left")

    monkeypatch.setattr(Keys, "_write", full)
    assert keys.check(secret, "read").name == "studio"
    with pytest.raises(OutputError):
        keys.create("another", ["read"])


def test_a_pepper_that_the_file_does_not_hold(tmp_path):
    secret = Keys(tmp_path, pepper=b"kept elsewhere").create("studio", ["read"])
    Keys(tmp_path, pepper=b"kept elsewhere").check(secret, "read")
    for pepper in (b"", b"another"):
        with pytest.raises(KeyRefusedError):
            Keys(tmp_path, pepper=pepper).check(secret, "read")


@pytest.mark.parametrize("content", ["{", "[]", '{"keys": [{"id": "a"}]}', '{"keys": 3}', "\x00\xff"])
def test_a_damaged_file_is_said_and_lets_nobody_in(keys, tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(ConfigError, match="keys.json is damaged"):
        keys.check("hh_" + "a" * 32, "read")
    with pytest.raises(ConfigError, match="damaged"):
        keys.create("studio", ["read"])
    assert (tmp_path / FILE).read_text() == content, "nothing is written over what could be restored"


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "line\nbreak"])
def test_names_that_cannot_be(keys, name):
    with pytest.raises(ConfigError, match="1 to 64 printable"):
        keys.create(name, ["read"])


@pytest.mark.parametrize("scopes", [[], ["write"], ["read", "fly"], "read"])
def test_scopes_that_are_none(keys, scopes):
    with pytest.raises(ConfigError, match="generate, read, delete, vote, admin"):
        keys.create("studio", scopes)


def test_a_lifetime_of_nothing(keys):
    with pytest.raises(ConfigError, match="lifetime of 0 s"):
        keys.create("studio", ["read"], lifetime=0)


def test_threads_that_make_keys_at_once_lose_none(keys, tmp_path):
    secrets = []

    def make(number):
        secrets.append(Keys(tmp_path).create(f"thread {number}", ["read"]))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.id for key in keys.list()} == {key_id(secret) for secret in secrets}
    assert len(secrets) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) in ([FILE], [FILE, "keys.lock"])


def test_another_process_makes_a_key_and_it_counts_here(keys, tmp_path):
    keys.create("first", ["read"])
    assert len(keys.list()) == 1
    program = "import sys; from happyhorse.server.keys import Keys; print(Keys(sys.argv[1]).create('cli', ['vote']))"
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert keys.check(done.stdout.strip(), "vote").name == "cli"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "localhost", "LOCALHOST", "::1", "[::1]", "::ffff:127.0.0.1"]
)
def test_on_this_machine_alone_no_keys_are_asked_for(host):
    assert not needs_keys(host)
    assert needs_keys(host, True)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "", "::", "[::]", "192.168.1.5", "10.0.0.1", "8.8.8.8", "myhost", "fe80::1"]
)
def test_where_others_can_reach_it_keys_are_asked_for_unless_told_otherwise(host):
    assert needs_keys(host)
    assert not needs_keys(host, False)
