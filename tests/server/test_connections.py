import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from happyhorse.server.connections import Deadline, Network, answer_to, read_body
from happyhorse.server.targets import ConnectionPolicy, FetchError, UnreachableError, target_of

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
LOCAL = ("127.0.0.0/8",)


class RawServer:
    """Answers every connection with the pieces it is given, and keeps what it was sent."""

    def __init__(self, pieces, address="127.0.0.1", pause=0.0, context=None, hold=False):
        self._pieces, self._pause, self._context, self._hold = pieces, pause, context, hold
        self.requests, self.sent = [], 0
        self._listening = socket.create_server((address, 0))
        self.port = self._listening.getsockname()[1]
        self._closing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), sock:
                self._answer(sock)

    def _answer(self, sock):
        sock.settimeout(5)
        if self._context:
            sock = self._context.wrap_socket(sock, server_side=True)
        self.requests.append(sock.recv(65_536))
        for piece in self._pieces:
            sock.sendall(piece)
            self.sent += 1
            if self._closing.wait(self._pause):
                return
        if self._hold:
            self._closing.wait(10)
        elif self._context:
            sock.close()

    def close(self):
        self._closing.set()
        self._listening.close()


@pytest.fixture
def serve():
    servers = []

    def start(*pieces, **settings):
        servers.append(RawServer(pieces, **settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(port, *, networks=LOCAL, seconds=5.0, resolve=None, scheme="http", host="media.test", limit=1000, trust=None):
    """The whole body that a local server answers with."""
    policy = ConnectionPolicy(hosts=(host,), schemes=(scheme,), ports=(port,), networks=networks, seconds=seconds)
    network = Network(resolve=resolve or (lambda _: ["127.0.0.1"]), trust=trust or ssl.create_default_context)
    target = target_of(f"{scheme}://{host}:{port}/a?b", policy)
    deadline = Deadline(policy.seconds, network.clock)
    with answer_to("GET", target, policy, deadline, network, headers={"Accept": "*/*"}, bytes_max=limit) as answer:
        return b"".join(read_body(answer, limit))


def test_a_request_and_its_answer(serve):
    server = serve(GOOD)
    assert ask(server.port) == b"hello"
    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b HTTP/1.1"
    assert f"Host: media.test:{server.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert not any(line.lower().startswith(("cookie", "authorization", "referer")) for line in lines)


def test_proxies_of_the_environment_are_not_used(serve, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(serve(GOOD).port) == b"hello"


# ---------------------------------------------------------------------------------------------------------- the address
def never(*_):
    raise AssertionError("connected")


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "224.0.0.1"),
        *("::1", "::", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"),
        *("255.255.255.255", "fd00::1", "fe80::1%eth0", "::127.0.0.1", "not an address"),
    ],
)
def test_names_of_addresses_that_are_not_public(serve, monkeypatch, address):
    server = serve(GOOD)
    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(FetchError, match="media.test is not at a public address") as refusal:
        ask(server.port, networks=(), resolve=lambda _: [address])
    assert not isinstance(refusal.value, UnreachableError)
    assert address not in str(refusal.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"])
def test_addresses_in_the_url_itself(serve, monkeypatch, host):
    server = serve(GOOD)
    monkeypatch.setattr(socket.socket, "connect", never)
    policy = ConnectionPolicy(hosts=(host.strip("[]"),), schemes=("http",), ports=(server.port,))
    target = target_of(f"http://{host}:{server.port}/", policy)
    network = Network(resolve=never)
    with (
        pytest.raises(FetchError, match="not at a public address"),
        answer_to("GET", target, policy, Deadline(5, network.clock), network, headers={}),
    ):
        pass


def test_one_bad_address_among_good_ones_is_enough(serve, monkeypatch):
    server = serve(GOOD)
    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(FetchError, match="not at a public address"):
        ask(server.port, networks=("127.0.0.1/32",), resolve=lambda _: ["127.0.0.1", "127.0.0.2"])


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_judged(serve):
    """A resolver that changes its mind between check and use finds nobody who asks it again."""
    good = serve(GOOD, address="127.0.0.2")
    asked = []

    def rebinding(host):
        asked.append(host)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    assert ask(good.port, networks=("127.0.0.2/32",), resolve=rebinding) == b"hello"
    assert asked == ["media.test"]
    with pytest.raises(FetchError, match="not at a public address"):
        ask(good.port, networks=("127.0.0.2/32",), resolve=rebinding)


def test_no_name_is_looked_up_but_by_the_resolver(serve, monkeypatch):
    server = serve(GOOD)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    assert ask(server.port) == b"hello"


def test_the_next_address_is_tried_if_one_does_not_answer(serve):
    server = serve(GOOD)
    assert ask(server.port, resolve=lambda _: ["127.0.0.9", "127.0.0.1"]) == b"hello"


def test_a_name_that_is_not_there():
    def unknown(_):
        raise socket.gaierror("no such name")

    with pytest.raises(UnreachableError, match="the name media.test was not found"):
        ask(80, resolve=unknown)
    with pytest.raises(UnreachableError, match="media.test could not be reached"):
        ask(80, resolve=lambda _: [])


def test_a_resolver_that_does_not_come_back():
    with pytest.raises(UnreachableError, match="not complete within 0.1 s, which is the limit"):
        ask(80, seconds=0.1, resolve=lambda _: time.sleep(1) or ["127.0.0.1"])


# ---------------------------------------------------------------------------------------------------- bounds in transit
def test_a_closed_port_says_no_more_than_that():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(UnreachableError) as refusal:
        ask(port)
    assert str(refusal.value) == "media.test could not be reached; check the URL, or try again later"


@pytest.mark.parametrize(
    ("pieces", "pause"),
    [
        ([], 0),
        ([b"HTTP/1.1 200 OK\r\n"], 0),
        ([b"HTTP/1.1 200 OK\r\nX: "] + [b"x"] * 100, 0.05),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 100, 0.05),
        ([GOOD.replace(b"5", b"100")] + [b"x"] * 90, 0.05),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"] + [b"1\r\nx\r\n"] * 100, 0.05),
    ],
    ids=["silence", "half a head", "a slow head", "endless patience", "a slow body", "slow chunks"],
)
def test_all_of_it_ends_by_one_deadline(serve, pieces, pause):
    server = serve(*pieces, pause=pause, hold=True)
    with pytest.raises(UnreachableError, match="not complete within 0.4 s"):
        ask(server.port, seconds=0.4)
    assert not pause or server.sent < len(pieces), "waited anew for each piece"


def test_a_body_larger_than_announced_limits(serve):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n", hold=True)
    with pytest.raises(FetchError, match="more than 0.000953674 MiB, which is the limit"):
        ask(server.port)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n"]
)
def test_a_body_that_does_not_end_is_left_when_the_limit_is_passed(serve, head):
    server = serve(head, *[b"x" * 500] * 200, hold=True)
    with pytest.raises(FetchError, match="which is the limit"):
        ask(server.port)


@pytest.mark.parametrize("size", [b"-1", b"-10"])
def test_chunks_of_negative_size_fill_no_memory(serve, size):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n"
    server = serve(head, *[bytes(2**20)] * 32, hold=True)
    with pytest.raises(FetchError, match="MiB, which is the limit|could not be reached"):
        ask(server.port)
    assert server.sent < 32


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_cut_short_or_no_answer_at_all(serve, answer):
    with pytest.raises(UnreachableError):
        ask(serve(answer).port)


# ------------------------------------------------------------------------------------------------------------------ TLS
@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for media.test, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=media.test",
    ]
    files = ["-addext", "subjectAltName=DNS:media.test", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", *made, *files], check=True, capture_output=True)
    return folder


@pytest.fixture
def secure(serve, certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return lambda *pieces, **settings: serve(*pieces, context=context, **settings)


@pytest.fixture
def trust(certificate):
    return lambda: ssl.create_default_context(cafile=certificate / "cert.pem")


def test_the_certificate_is_compared_with_the_name_and_not_the_address(secure, trust):
    server = secure(GOOD)
    assert ask(server.port, scheme="https", trust=trust) == b"hello"
    with pytest.raises(UnreachableError, match="other.test has no valid certificate for its name"):
        ask(server.port, scheme="https", trust=trust, host="other.test")


def test_a_certificate_of_nobody_is_refused(secure):
    server = secure(GOOD)
    with pytest.raises(UnreachableError, match="no valid certificate"):
        ask(server.port, scheme="https")
    assert server.requests == []


def test_plain_http_is_no_tls(serve, trust):
    with pytest.raises(UnreachableError, match="could not be reached"):
        ask(serve(GOOD).port, scheme="https", trust=trust)


def test_a_handshake_that_hangs(serve, trust):
    with pytest.raises(UnreachableError, match="not complete within 0.3 s"):
        ask(serve(hold=True).port, scheme="https", trust=trust, seconds=0.3)
