import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from happyhorse.errors import ConfigError, HappyhorseError, OutputError
from happyhorse.server.connections import Network
from happyhorse.server.fetching import FetchPolicy, fetch
from happyhorse.server.signatures import media_types
from happyhorse.server.targets import FetchError, UnreachableError

IMAGE = bytes(range(256)) * 40


class Site:
    """A local server whose pages are (status, headers, body) by path."""

    def __init__(self):
        self.pages, self.asked = {}, []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                site.asked.append(self.path)
                status, headers, body = site.pages.get(self.path, (404, {}, b"nothing here"))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path="/", host="media.test"):
        return f"http://{host}:{self.port}{path}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site():
    site = Site()
    site.pages["/a.png"] = (200, {"Content-Type": "image/png"}, IMAGE)
    yield site
    site.close()


@pytest.fixture
def policy(site):
    """Lets the local server be reached under the name media.test, and no more."""
    return FetchPolicy(
        hosts=("media.test",), schemes=("http",), ports=(site.port,), networks=("127.0.0.1/32",), seconds=5
    )


LOCAL = Network(resolve=lambda _: ["127.0.0.1"])


@pytest.fixture
def get(tmp_path, policy):
    """Fetches, and when that fails sees to it that nothing is left."""
    folder = tmp_path / "in"
    folder.mkdir()

    def fetched(url, network=LOCAL, **changes):
        before = set(folder.iterdir())
        try:
            return fetch(url, policy.replace(**changes), folder, network)
        except HappyhorseError:
            assert set(folder.iterdir()) == before
            raise

    return fetched


def test_a_file_is_fetched_whole(site, get, tmp_path):
    found = get(site.url("/a.png"))
    assert (found.path.read_bytes(), found.media_type, found.bytes) == (IMAGE, "image/png", len(IMAGE))
    assert found.path.parent == tmp_path / "in"
    assert "a.png" not in found.path.name, "names from outside go nowhere"
    assert found.path.stat().st_mode & 0o077 == 0


def test_the_default_policy_reaches_nothing(site):
    for url in (site.url("/a.png"), "https://media.test/a.png", "https://8.8.8.8/", "http://localhost/"):
        with pytest.raises(FetchError):
            fetch(url, FetchPolicy(), network=LOCAL)
    assert site.asked == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]"),
        *("[::127.0.0.1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "media.test", "0.0.0.0", "127.0.0.1.", "localhost."),
    ],
)
def test_loopback_is_refused_in_every_spelling_though_its_host_is_listed(site, get, host):
    """Only the open networks let the local server be reached at all: without them no form of its address does."""
    listed = host.strip("[]").removesuffix(".").partition("%")[0]
    with pytest.raises(FetchError) as refusal:
        get(site.url("/a.png", host), networks=(), hosts=(listed, ".1", "media.test"))
    assert not isinstance(refusal.value, UnreachableError)
    assert site.asked == []


# ------------------------------------------------------------------------------------------------------------ redirects
def leads(site, path, to, status=302):
    site.pages[path] = (status, {"Location": to}, b"")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(site, get, status):
    leads(site, "/1", "/2", status)
    leads(site, "/2", site.url("/3#part"), status)
    leads(site, "/3", "a.png", status)
    assert get(site.url("/1")).bytes == len(IMAGE)
    assert site.asked == ["/1", "/2", "/3", "/a.png"]


def test_three_redirects_and_no_more(site, get):
    for number in range(4):
        leads(site, f"/{number}", f"/{number + 1}")
    site.pages["/4"] = site.pages["/a.png"]
    assert get(site.url("/1")).bytes == len(IMAGE)
    with pytest.raises(FetchError, match="more than 3 times"):
        get(site.url("/0"))
    leads(site, "/loop", "/loop")
    with pytest.raises(FetchError, match="more than 3 times"):
        get(site.url("/loop"))


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.1:{port}/secret",
        "http://localhost:{port}/secret",
        "http://2130706433:{port}/secret",
        "http://0x7f.1:{port}/secret",
        "http://[::1]:{port}/secret",
        "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://169.254.169.254/latest/meta-data/",
        "//other.test:{port}/secret",
        "http://media.test:22/secret",
        "http://user:pass@media.test:{port}/secret",
        "https://media.test/secret",
        "ftp://media.test/secret",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "http://media.test:{port}/sec ret",
        "http://[::1/",
        "javascript:alert(1)",
    ],
)
def test_redirects_are_held_to_the_same_rules(site, get, to):
    site.pages["/secret"] = (200, {"Content-Type": "image/png"}, b"secret")
    leads(site, "/1", to.format(port=site.port))
    with pytest.raises(FetchError):
        get(site.url("/1"))
    assert site.asked == ["/1"]


def test_a_redirect_to_a_listed_name_at_a_private_address(site, get):
    """The first host is let through, the second one is listed too, but is not where it should be."""
    addresses = {"media.test": ["127.0.0.1"], "inside.test": ["127.0.0.2"]}
    leads(site, "/1", site.url("/a.png", "inside.test"))
    with pytest.raises(FetchError, match="inside.test is not at a public address"):
        get(site.url("/1"), Network(resolve=addresses.__getitem__), hosts=("media.test", "inside.test"))
    assert site.asked == ["/1"]


def test_a_name_that_moves_before_the_redirect(site, get):
    answers = iter([["127.0.0.1"], ["127.0.0.3"], ["127.0.0.1"]])
    leads(site, "/1", "/a.png")
    with pytest.raises(FetchError, match="not at a public address"):
        get(site.url("/1"), Network(resolve=lambda _: next(answers)))
    assert site.asked == ["/1"]


def test_a_redirect_without_a_place(site, get):
    site.pages["/1"] = (302, {}, b"")
    with pytest.raises(FetchError):
        get(site.url("/1"))


# -------------------------------------------------------------------------------------------------------------- content
def test_the_size_is_bounded_said_or_unsaid(site, get):
    assert get(site.url("/a.png"), bytes_max=len(IMAGE)).bytes == len(IMAGE)
    with pytest.raises(FetchError, match="more than .* MiB, which is the limit"):
        get(site.url("/a.png"), bytes_max=len(IMAGE) - 1)
    site.pages["/unsaid"] = (200, {"Content-Type": "image/png", "Content-Length": "none"}, IMAGE)
    with pytest.raises(FetchError, match="more than .* MiB, which is the limit"):
        get(site.url("/unsaid"), bytes_max=len(IMAGE) - 1)


@pytest.mark.parametrize("declared", ["text/html", "application/json", "", "image/svg+xml", "application/octet-stream"])
def test_types_that_are_not_taken(site, get, declared):
    site.pages["/x"] = (200, {"Content-Type": declared}, IMAGE)
    with pytest.raises(FetchError, match="taken are files of the kinds"):
        get(site.url("/x"))


def test_types_are_read_leniently_and_may_be_fewer(site, get):
    site.pages["/x"] = (200, {"Content-Type": "Image/PNG ; charset=x"}, IMAGE)
    assert get(site.url("/x")).media_type == "image/png"
    with pytest.raises(FetchError, match="'image/png'; taken are files of the kinds audio"):
        get(site.url("/x"), media_types=media_types("audio"))


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 404, 500, 503])
def test_answers_that_are_no_file(site, get, status):
    site.pages["/x"] = (status, {"Content-Type": "image/png"}, b"" if status in (204, 304) else IMAGE)
    with pytest.raises(FetchError, match=f"media.test answered {status}"):
        get(site.url("/x"))


def test_a_compressed_answer_cannot_be_a_bomb(site, get):
    site.pages["/x"] = (200, {"Content-Type": "image/png", "Content-Encoding": "gzip"}, IMAGE)
    with pytest.raises(FetchError, match="compressed"):
        get(site.url("/x"))


def test_an_answer_that_is_cut_short_leaves_nothing(site, get):
    site.pages["/x"] = (200, {"Content-Type": "image/png", "Content-Length": str(len(IMAGE) + 1)}, IMAGE)
    with pytest.raises(UnreachableError, match=f"only {len(IMAGE)} of {len(IMAGE) + 1} bytes"):
        get(site.url("/x"))


def test_a_full_disk_is_our_trouble_and_not_the_connections(site, get, disk_of):
    with pytest.raises(OutputError, match="no space left"), disk_of(100):
        get(site.url("/a.png"))


def test_a_folder_that_is_not_there(site, policy, tmp_path):
    with pytest.raises(OutputError):
        fetch(site.url("/a.png"), policy, tmp_path / "none", LOCAL)


# ----------------------------------------------------------------------------------------------------------- data: URLs
@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64," + base64.b64encode(IMAGE).decode(),
        "DATA:Image/PNG;charset=x;BASE64," + base64.b64encode(IMAGE).decode(),
        "data:image/png;base64," + base64.b64encode(IMAGE).decode().replace("+", "%2B").replace("/", "%2f"),
        "data:image/png," + "".join(f"%{byte:02x}" for byte in IMAGE),
    ],
)
def test_data_urls_are_decoded(get, url):
    found = get(url, bytes_max=len(IMAGE))
    assert (found.path.read_bytes(), found.media_type, found.bytes) == (IMAGE, "image/png", len(IMAGE))
    with pytest.raises(FetchError, match="data: URL holds more than .* MiB, which is the limit"):
        get(url, bytes_max=len(IMAGE) - 1)


def test_data_urls_reach_nothing_and_so_need_no_host(tmp_path):
    assert fetch("data:image/png;base64,AAAA", FetchPolicy(), tmp_path).bytes == 3


def test_a_data_url_that_is_far_too_large_is_not_decoded(get, monkeypatch):
    monkeypatch.setattr(base64, "b64decode", None)
    with pytest.raises(FetchError, match="which is the limit"):
        get("data:image/png;base64," + "A" * 10_000, bytes_max=1000)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:,hello", "taken are files of the kinds"),
        ("data:text/html,<b>", "'text/html'"),
        ("data:image/png;base64,A", "check its base64"),
        ("data:image/png;base64,AA AA", "check its base64"),
        ("data:image/png;base64,____", "check its base64"),
        ("data:image/png,é", "check its base64"),
    ],
)
def test_data_urls_that_are_none(get, url, says):
    with pytest.raises(FetchError, match=says):
        get(url)


def test_data_urls_may_be_refused(get):
    with pytest.raises(FetchError, match="data: URLs are not taken"):
        get("data:image/png;base64,AAAA", data_urls=False)


@pytest.mark.parametrize("change", [{"bytes_max": 0}, {"seconds": 0}])
def test_a_policy_without_room(policy, change):
    with pytest.raises(ConfigError, match="more than 0"):
        policy.replace(**change)
