"""What tests of this room share: a hub on this machine, and parts of models laid into folders by hand."""

import contextlib
import hashlib
import http.server
import json
import re
import threading

import pytest

from happyhorse.weights.kept import WantedFile, write_record


class FakeHub(http.server.ThreadingHTTPServer):
    """Speaks what huggingface_hub asks for: a repository's listing, and its files with hashes, redirects and ranges.

    Large files come from a second server, as those of the real hub do.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.store.hub = self
        self.hub = self
        self.commit = "c" * 40
        self.repos = {}  # name to {path: bytes}
        self.large = 2000  # bytes from which a file has a SHA-256 and lies in the store
        self.reason = "GatedRepo"
        self.gated, self.tokens = set(), {}  # repositories; token to the repositories whose terms it accepted
        self.cut, self.wrong, self.broken = {}, set(), set()  # path to bytes after which the line drops; paths; repos
        self.ranges = True
        self.asked = []  # (method, path, range)
        self.clients = set()  # what was said of the program that asks
        self.leaked = []  # paths for which the store was shown a token

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.server_port}"

    @contextlib.contextmanager
    def running(self):
        for server in (self, self.store):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield self
        for server in (self, self.store):
            server.shutdown()
            server.server_close()

    def bodies(self, name=""):
        """The ranges with which files of that name were fetched from the store; None is a whole file."""
        return [span for method, path, span in self.asked if path.startswith("/blob/") and path.endswith(name)]


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def hub(self):
        return self.server.hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = self.path.split("?")[0]
        self.hub.asked.append((self.command, path, self.headers.get("Range")))
        self.hub.clients.add(self.headers.get("User-Agent", ""))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", path):
            return self.listing(found[1])
        if found := re.fullmatch(rf"/([^/]+/[^/]+)/resolve/{self.hub.commit}/(.+)", path):
            return self.file(*found.groups())
        if found := re.fullmatch(r"/blob/([^/]+/[^/]+)/(.+)", path):
            self.hub.leaked += [path] if "Authorization" in self.headers else []
            return self.content(found[2], self.hub.repos[found[1]][found[2]])
        return self.refuse(404)

    def refuse(self, status, code=""):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def listing(self, repo):
        if repo in self.hub.broken:
            return self.refuse(503)
        if repo not in self.hub.repos:
            return self.refuse(401, "RepoNotFound")
        siblings = [self.sibling(path, data) for path, data in self.hub.repos[repo].items()]
        body = json.dumps({"id": repo, "sha": self.hub.commit, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def sibling(self, path, data):
        entry = {"rfilename": path, "size": len(data), "blobId": git_hash(data)}
        if len(data) >= self.hub.large:
            entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def file(self, repo, path):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            return self.refuse(401)
        if repo in self.hub.gated and repo not in self.hub.tokens.get(token, ()):
            return self.refuse(403 if token else 401, self.hub.reason)
        data = self.hub.repos.get(repo, {}).get(path)
        if data is None:
            return self.refuse(404, "EntryNotFound")
        if len(data) < self.hub.large:
            return self.content(path, data)
        self.send_response(302)
        self.send_header("Location", f"http://127.0.0.1:{self.hub.store.server_port}/blob/{repo}/{path}")
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def content(self, path, data):
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(begin[1]) if begin and self.hub.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{git_hash(data)}"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if path in self.hub.wrong:
            data = bytes(len(data))
        end = self.hub.cut.get(path, len(data))
        self.wfile.write(data[start : max(end, start)])
        self.close_connection = end < len(data)


def git_hash(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def fake_hub():
    """A hub that is running and has no repositories yet."""
    with FakeHub().running() as hub:
        yield hub


@pytest.fixture
def lay():
    """``lay(folder, part, ...)`` puts files with a record into the folder of every part, as a pull leaves them.

    ``files`` holds their bytes by name; ``whole=False`` lets the record speak of files twice as long.
    """

    def go(folder, *parts, files=None, whole=True):
        files = files or {"weights": bytes(100)}
        for part in parts:
            place = folder / part.name
            place.mkdir(parents=True, exist_ok=True)
            for name, data in files.items():
                (place / name).write_bytes(data)
            record = [
                WantedFile(name, len(data) * (1 if whole else 2), hashlib.sha256(data).hexdigest())
                for name, data in files.items()
            ]
            write_record(place, part, record)

    return go
