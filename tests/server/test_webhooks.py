import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from happyhorse.errors import ConfigError
from happyhorse.server.connections import Network
from happyhorse.server.service import SECRETS, kept_secret
from happyhorse.server.targets import ConnectionPolicy
from happyhorse.server.webhooks import (
    Backoff,
    Outcome,
    SignatureError,
    deliver,
    new_secret,
    outcome_of,
    sign,
    signed_headers,
    verify,
)

# The vector that libraries of Standard Webhooks test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID, TIME, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# ----------------------------------------------------------------------------------------------------------- signatures
def test_the_signature_is_that_of_standard_webhooks():
    assert sign(SECRET, ID, TIME, BODY) == SIGNATURE
    assert signed_headers(SECRET, ID, TIME, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": str(TIME),
        "webhook-signature": SIGNATURE,
    }


def test_a_receiver_verifies_what_was_signed():
    secret = new_secret()
    assert secret.startswith("whsec_")
    headers = signed_headers(secret, "msg_1", TIME, BODY)
    assert verify(secret, headers, BODY, now=TIME + 299) == "msg_1"
    assert verify(secret, {name.title(): value for name, value in headers.items()}, BODY, now=TIME - 299) == "msg_1"


def test_now_is_now_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("time.time", lambda: TIME + 10.0)
    verify(SECRET, signed_headers(SECRET, ID, TIME, BODY), BODY)
    monkeypatch.setattr("time.time", lambda: TIME + 301.0)
    with pytest.raises(SignatureError):
        verify(SECRET, signed_headers(SECRET, ID, TIME, BODY), BODY)


def test_while_a_secret_is_replaced_two_signatures_come():
    headers = signed_headers(SECRET, ID, TIME, BODY)
    other = sign(new_secret(), ID, TIME, BODY)
    headers["webhook-signature"] = f"{other} v1a,other {SIGNATURE}"
    verify(SECRET, headers, BODY, now=TIME)
    headers["webhook-signature"] = f"{other} v1a,other é"
    with pytest.raises(SignatureError, match="not signed with this secret"):
        verify(SECRET, headers, BODY, now=TIME)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": str(TIME + 1)},
        {"webhook-signature": SIGNATURE.replace("g0", "g1")},
        {"webhook-signature": SIGNATURE.removeprefix("v1,")},
        {"webhook-signature": "v2," + SIGNATURE.removeprefix("v1,")},
        {"webhook-signature": ""},
    ],
)
def test_whatever_is_changed_does_not_verify(change):
    with pytest.raises(SignatureError, match="not signed with this secret, or was changed"):
        verify(SECRET, {**signed_headers(SECRET, ID, TIME, BODY), **change}, BODY, now=TIME)


def test_another_body_or_secret_does_not_verify():
    headers = signed_headers(SECRET, ID, TIME, BODY)
    with pytest.raises(SignatureError):
        verify(SECRET, headers, BODY + b" ", now=TIME)
    with pytest.raises(SignatureError):
        verify(new_secret(), headers, BODY, now=TIME)


@pytest.mark.parametrize("off", [-301, 301, 86_400])
def test_old_messages_are_not_taken_again(off):
    headers = signed_headers(SECRET, ID, TIME, BODY)
    with pytest.raises(SignatureError, match="last 300 s"):
        verify(SECRET, headers, BODY, now=TIME + off)
    verify(SECRET, headers, BODY, now=TIME + off, tolerance=abs(off))


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_headers_that_are_missing(name):
    headers = signed_headers(SECRET, ID, TIME, BODY)
    del headers[name]
    with pytest.raises(SignatureError, match="missing or unreadable"):
        verify(SECRET, headers, BODY, now=TIME)


def test_a_time_that_is_none():
    with pytest.raises(SignatureError, match="missing or unreadable"):
        verify(SECRET, {**signed_headers(SECRET, ID, TIME, BODY), "webhook-timestamp": "nan"}, BODY, now=TIME)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, "gÄ"])
def test_secrets_that_are_none(secret):
    with pytest.raises(ConfigError, match="24 to 64 bytes"):
        sign(secret, ID, TIME, BODY)


def test_secrets_are_all_different():
    assert len({new_secret() for _ in range(100)}) == 100


# -------------------------------------------------------------------------------------------------------------- outcome
@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((status, "done") for status in (200, 202, 204, 299)),
        *((status, "gone") for status in (301, 302, 304, 307, 400, 401, 404, 410, 422)),
        *((status, "retry") for status in (408, 425, 429, 500, 502, 503, 599)),
    ],
)
def test_what_an_answer_means(status, state):
    assert outcome_of(status) == Outcome(state, f"answered {status}", status)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        (formatdate(TIME + 90, usegmt=True), 90),
        (formatdate(TIME - 90, usegmt=True), 0),
        ("999999999999999999999999", 86_400),
        (formatdate(TIME + 10**9, usegmt=True), 86_400),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("²", 0),
        ("", 0),
    ],
)
def test_how_long_a_receiver_asks_us_to_wait(retry_after, seconds):
    assert outcome_of(429, retry_after, TIME).asked == seconds
    assert outcome_of(503, retry_after, TIME).asked == seconds
    assert outcome_of(400, retry_after, TIME).asked == 0


# ------------------------------------------------------------------------------------------------------------- schedule
def test_pauses_grow_and_are_spread():
    backoff = Backoff(first=5, factor=4, longest=1000)
    assert [backoff.seconds(attempt, lambda: 1.0) for attempt in range(1, 7)] == [5, 20, 80, 320, 1000, 1000]
    assert [backoff.seconds(attempt, lambda: 0.0) for attempt in range(1, 7)] == [2.5, 10, 40, 160, 500, 500]
    draws = [backoff.seconds(3, random.Random(seed).random) for seed in range(200)]
    assert min(draws) >= 40 and max(draws) < 80 and len(set(draws)) == 200


def test_pauses_stay_finite():
    assert Backoff().seconds(10_000, lambda: 1.0) == 6 * 3600


def test_the_default_gives_up_after_about_a_day():
    backoff = Backoff()
    hours = sum(backoff.seconds(attempt, lambda: 0.5) for attempt in range(1, backoff.attempts)) / 3600
    assert 18 < hours < 30


def test_when_to_try_again():
    backoff, retry = Backoff(first=10, factor=2, attempts=3), Outcome("retry", "answered 503", 503)
    assert backoff.after(retry, 1, lambda: 1.0) == 10
    assert backoff.after(retry, 2, lambda: 1.0) == 20
    assert backoff.after(retry, 3, lambda: 1.0) is None
    assert backoff.after(Outcome("retry", "answered 429", 429, asked=60), 1, lambda: 1.0) == 60
    assert backoff.after(Outcome("retry", "answered 429", 429, asked=1), 1, lambda: 1.0) == 10
    for state in ("done", "gone"):
        assert backoff.after(Outcome(state, ""), 1) is None


@pytest.mark.parametrize("change", [{"first": 0}, {"factor": 0.5}, {"longest": 1.0}, {"attempts": 0}])
def test_schedules_that_are_none(change):
    with pytest.raises(ConfigError, match="at least"):
        Backoff().replace(**change)


# ------------------------------------------------------------------------------------------------------------- delivery
class Receiver:
    """A local server that verifies what it gets and answers as it is told."""

    def __init__(self):
        self.answer, self.got = (204, {}), []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                self.send_response(receiver.answer[0])
                for name, value in receiver.answer[1].items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://hooks.test:{self.port}/done?x=1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def policy(receiver):
    return ConnectionPolicy(
        hosts=("hooks.test",), schemes=("http",), ports=(receiver.port,), networks=("127.0.0.1/32",), seconds=5
    )


LOCAL = Network(resolve=lambda _: ["127.0.0.1"])


def test_a_delivery_that_its_receiver_can_verify(receiver, policy):
    outcome = deliver(receiver.url, BODY, SECRET, policy, message_id=ID, now=TIME + 0.9, network=LOCAL)
    assert outcome == Outcome("done", "answered 204", 204)
    [(path, headers, body)] = receiver.got
    assert (path, body, headers["Content-Type"]) == ("/done?x=1", BODY, "application/json")
    assert verify(SECRET, headers, body, now=TIME) == ID


def test_another_attempt_is_the_same_message_signed_anew(receiver, policy):
    for now in (TIME, TIME + 3600):
        deliver(receiver.url, BODY, SECRET, policy, message_id=ID, now=now, network=LOCAL)
        assert verify(SECRET, receiver.got[-1][1], BODY, now=now) == ID


def test_the_receivers_answer_decides(receiver, policy):
    receiver.answer = (503, {"Retry-After": "30"})
    outcome = deliver(receiver.url, BODY, SECRET, policy, message_id=ID, network=LOCAL)
    assert (outcome.state, outcome.status, outcome.asked) == ("retry", 503, 30)
    receiver.answer = (410, {})
    assert deliver(receiver.url, BODY, SECRET, policy, message_id=ID, network=LOCAL).state == "gone"


def test_redirects_are_not_followed(receiver, policy):
    receiver.answer = (307, {"Location": receiver.url.replace("/done", "/elsewhere")})
    assert deliver(receiver.url, BODY, SECRET, policy, message_id=ID, network=LOCAL).state == "gone"
    assert [path for path, _, _ in receiver.got] == ["/done?x=1"]


def test_private_addresses_get_nothing(receiver, policy):
    outcome = deliver(receiver.url, BODY, SECRET, policy.replace(networks=()), message_id=ID, network=LOCAL)
    assert outcome.state == "gone"
    assert "hooks.test is not at a public address" in outcome.reason
    for url in (f"http://127.0.0.1:{receiver.port}/", "https://hooks.test/", "file:///etc/passwd", "data:,x"):
        assert deliver(url, BODY, SECRET, policy, message_id=ID, network=LOCAL).state == "gone"
    assert receiver.got == []


def test_the_default_policy_delivers_nowhere(receiver):
    outcome = deliver("https://hooks.test/", BODY, SECRET, ConnectionPolicy(), message_id=ID, network=LOCAL)
    assert outcome.state == "gone"


def test_a_receiver_that_is_away_is_asked_again(policy):
    def unknown(_):
        raise socket.gaierror("no such name")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        silent = policy.replace(ports=(port,), seconds=0.2)
        outcome = deliver(f"http://hooks.test:{port}/", BODY, SECRET, silent, message_id=ID, network=LOCAL)
        assert (outcome.state, outcome.status) == ("retry", 0)
        assert "not complete within 0.2 s" in outcome.reason
    closed = deliver(f"http://hooks.test:{port}/", BODY, SECRET, silent, message_id=ID, network=LOCAL)
    nameless = deliver(f"http://hooks.test:{port}/", BODY, SECRET, silent, message_id=ID, network=Network(unknown))
    assert (closed.state, nameless.state) == ("retry", "retry")


def test_a_secret_that_is_none_is_said_before_anything_is_sent(receiver, policy):
    with pytest.raises(ConfigError, match="24 to 64 bytes"):
        deliver(receiver.url, BODY, "secret", policy, message_id=ID, network=LOCAL)
    assert receiver.got == []


def test_servers_that_start_at_once_sign_with_one_secret(tmp_path):
    folder, together = tmp_path / "new", threading.Barrier(8)

    def start(_: int) -> str:
        together.wait()
        return kept_secret(folder)

    with ThreadPoolExecutor(8) as servers:
        assert len(set(servers.map(start, range(8)))) == 1
    assert (folder / SECRETS).stat().st_mode & 0o777 == 0o600
