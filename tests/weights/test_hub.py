import contextlib
import errno
import hashlib
import http.server
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import huggingface_hub.constants
import pytest

from happyhorse.errors import OutputError, WeightsError
from happyhorse.weights import hub
from happyhorse.weights.catalogue import INDEX, MODELS, Part, PublicModel
from happyhorse.weights.hub import pull, read_record, remove, state, verify

COMMIT = "c" * 40
CHUNK = 1000


class FakeHub(http.server.ThreadingHTTPServer):
    """Speaks what huggingface_hub asks for: a repository's listing, and its files with hashes, redirects and ranges.

    Large files come from a second server, as those of the real hub do.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.store = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.store.hub = self
        self.hub = self
        self.repos = {}  # name to {path: bytes}
        self.large = 2000  # bytes from which a file has a SHA-256 and lies in the store
        self.reason = "GatedRepo"
        self.gated, self.tokens = set(), {}  # repositories; token to the repositories whose terms it accepted
        self.cut, self.wrong, self.broken = {}, set(), set()  # path to bytes after which the line drops; paths; repos
        self.ranges = True
        self.asked = []  # (method, path, range)
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
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/main", path):
            return self.listing(found[1])
        if found := re.fullmatch(rf"/([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", path):
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
        body = json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
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
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def content(self, path, data):
        begin = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(begin[1]) if begin and self.hub.ranges else 0
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", COMMIT)
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


def content(seed, size):
    return b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(size // 32 + 1))[:size]


BASE = Part("base", "lab/horse", ("*.safetensors",), "Apache-2.0", prefix="base/", optional=("*.json",))
TEXT = Part("text", "shop/words", ("config.json", "model.safetensors"), "Shop terms", gate="gated")
HORSE = PublicModel("horse", "a horse", {"transformer": BASE, "text": TEXT})
FILES = {
    "base/config.json": b'{"hidden": 8}',
    "base/a.safetensors": content(1, 5000),
    "base/b.safetensors": content(2, 7500),
    "base/sub/c.safetensors": content(3, 9000),
    "README.md": b"a horse",
}
WORDS = {"config.json": b"{}", "model.safetensors": content(4, 4096), "model.bin": content(5, 4096)}
TOTAL = 13 + 5000 + 7500 + 2 + 4096


@pytest.fixture
def server():
    server = FakeHub()
    server.repos = {"lab/horse": dict(FILES), "shop/words": dict(WORDS)}
    with server.running():
        yield server


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Pulls from the fake hub into ``tmp_path / "models"``, in chunks of 1000 bytes, without waiting between tries."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)  # it asks the real hub for a list
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def go(wanted=HORSE, progress=None, token=False, endpoint=server.endpoint):
        return pull(wanted, progress, folder=tmp_path / "models", endpoint=endpoint, token=token)

    return go


def files(folder):
    own = (hub.RECORD, ".lock")
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in own
    }


# ------------------------------------------------------------------------------------------------------ what is fetched
def test_the_wanted_files_and_no_others_are_fetched_with_a_record(fetch, server, tmp_path):
    done = fetch()
    assert (done.kind, done.files, done.wanted, done.bytes, done.missing) == ("complete", 5, 5, TOTAL, ())
    base = tmp_path / "models" / "base"
    assert files(base) == {p.removeprefix("base/"): FILES[p] for p in FILES if p[:6] in ("base/a", "base/b", "base/c")}
    assert files(tmp_path / "models" / "text") == {p: WORDS[p] for p in ("config.json", "model.safetensors")}
    record = {entry["file"]: entry for entry in json.loads((base / "parts.json").read_text())["files"]}
    for name, entry in record.items():
        data = FILES[f"base/{name}"]
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert entry["commit"] == COMMIT
    assert state(HORSE, tmp_path / "models") == done


def test_a_second_pull_fetches_nothing(fetch, server):
    fetch()
    server.asked.clear()
    assert fetch().kind == "complete"
    assert {path for _, path, _ in server.asked} == {
        "/api/models/lab/horse/revision/main",
        "/api/models/shop/words/revision/main",
    }


def test_files_that_lie_there_without_a_record_are_taken_if_they_are_the_right_ones(fetch, server, tmp_path):
    base = tmp_path / "models" / "base"
    base.mkdir(parents=True)
    (base / "a.safetensors").write_bytes(FILES["base/a.safetensors"])
    (base / "b.safetensors").write_bytes(bytes(7500))
    (base / "config.json").write_bytes(FILES["base/config.json"])
    assert fetch(BASE).kind == "complete"
    fetched = [path for method, path, _ in server.asked if method == "GET" and "/resolve/" in path]
    assert fetched == [f"/lab/horse/resolve/{COMMIT}/base/b.safetensors"]
    assert (base / "b.safetensors").read_bytes() == FILES["base/b.safetensors"]


def test_a_file_that_the_hub_changed_is_fetched_again(fetch, server, tmp_path):
    fetch(BASE)
    server.repos["lab/horse"]["base/a.safetensors"] = content(9, 5000)
    server.repos["lab/horse"]["base/config.json"] = b'{"hidden": 9}'
    server.asked.clear()
    fetch(BASE)
    assert files(tmp_path / "models" / "base")["a.safetensors"] == content(9, 5000)
    assert files(tmp_path / "models" / "base")["config.json"] == b'{"hidden": 9}'
    assert not [path for _, path, _ in server.asked if path.endswith("b.safetensors")]


def test_progress_counts_every_byte_once(fetch):
    seen = []
    fetch(progress=lambda *said: seen.append(said))
    assert seen[0] == (0, TOTAL, "")
    assert seen[-1] == (TOTAL, TOTAL, "model.safetensors")
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert len(seen) > TOTAL / CHUNK


def test_weight_files_that_hold_only_the_decoder_are_passed_over(fetch, server, tmp_path):
    shards = {
        "model.decoder.norm.weight": "model-1.safetensors",
        "lm_head.weight": "model-1.safetensors",
        "model.decoder.last.weight": "model-2.safetensors",
        "model.encoder.embed_tokens.weight": "model-2.safetensors",
        "model.encoder.norm.weight": "model-3.safetensors",
    }
    weights = {f"model-{i}.safetensors": content(i, 3000) for i in (1, 2, 3)}
    server.repos["shop/words"] = {INDEX: json.dumps({"weight_map": shards}).encode(), **weights}
    part = Part(
        "halves", "shop/words", ("model*.safetensors",), "", optional=(INDEX,), unused=("model.decoder.", "lm_")
    )
    assert fetch(part).files == 3
    assert set(files(tmp_path / "models" / "halves")) == {INDEX, "model-2.safetensors", "model-3.safetensors"}
    assert not server.bodies("model-1")
    server.asked.clear()
    assert fetch(part).kind == "complete" and not server.bodies()


@pytest.mark.parametrize("index", [b"{", b"[]", b'{"weight_map": 3}'])
def test_an_index_that_is_none(fetch, server, index):
    server.repos["shop/words"] = {INDEX: index, "model-1.safetensors": b"weights"}
    with pytest.raises(WeightsError, match=r"index\.json is no index of weights"):
        fetch(Part("halves", "shop/words", ("*.safetensors",), "", optional=(INDEX,)))


# -------------------------------------------------------------------------------------------------------- interruptions
def stop_at(size):
    def progress(done, total, file):
        if done >= size:
            raise KeyboardInterrupt

    return progress


def test_a_pull_that_was_stopped_goes_on_where_it_was(fetch, server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch(progress=stop_at(5000 + 3000))
    base = tmp_path / "models" / "base"
    assert set(files(base)) - {"a.safetensors"} == {p.name for p in base.glob(".b.safetensors.*.part")} != set()
    now = state(HORSE, tmp_path / "models")
    assert (now.kind, now.files, now.wanted, now.missing) == ("partial", 1, 5, ("base", "text"))
    assert now.bytes == 8000
    assert str(now) == "partial, 1 of 5 files"
    server.asked.clear()
    seen = []
    assert fetch(progress=lambda *said: seen.append(said)).kind == "complete"
    assert seen[0] == (8000, TOTAL, "")
    assert server.bodies("b.safetensors") == ["bytes=3000-"]
    assert not server.bodies("a.safetensors")
    assert files(base)["b.safetensors"] == FILES["base/b.safetensors"]


def test_a_dropped_connection_is_taken_up_again_with_a_range(fetch, server, tmp_path):
    server.cut["base/b.safetensors"] = 4000
    with pytest.raises(WeightsError, match=r"connection to http://127\.0\.0\.1.*what was fetched is kept"):
        fetch(BASE)
    assert server.bodies("b.safetensors")[:2] == [None, "bytes=4000-"]
    server.cut.clear()
    server.asked.clear()
    assert fetch(BASE).kind == "complete"
    assert server.bodies("b.safetensors") == ["bytes=4000-"]
    assert verify(HORSE, folder=tmp_path / "models") == ["text was never pulled"]


def test_a_hub_without_ranges_sends_the_whole_file_again(fetch, server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch(BASE, stop_at(2000))
    server.ranges = False
    assert fetch(BASE).kind == "complete"
    assert files(tmp_path / "models" / "base")["a.safetensors"] == FILES["base/a.safetensors"]


def test_an_unfinished_file_of_another_version_is_not_gone_on_with(fetch, server, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fetch(BASE, stop_at(2000))
    server.repos["lab/horse"]["base/a.safetensors"] = content(9, 5000)
    assert fetch(BASE).kind == "complete"
    assert files(tmp_path / "models" / "base")["a.safetensors"] == content(9, 5000)
    assert set(files(tmp_path / "models" / "base")) == {"a.safetensors", "b.safetensors", "config.json"}


def test_wrong_bytes_are_removed_and_can_be_fetched_again(fetch, server, tmp_path):
    server.wrong.add("base/b.safetensors")
    with pytest.raises(WeightsError, match=r"base/b\.safetensors arrived damaged.*happyhorse pull base"):
        fetch()
    assert set(files(tmp_path / "models" / "base")) == {"a.safetensors"}
    server.wrong.clear()
    assert fetch().kind == "complete"


def test_small_files_are_compared_too(fetch, server, tmp_path):
    server.wrong.add("base/config.json")
    with pytest.raises(WeightsError, match=r"config\.json arrived damaged"):
        fetch()
    assert "config.json" not in files(tmp_path / "models" / "base")


def test_a_hash_that_is_known_in_advance_counts_more_than_the_hubs(fetch):
    part = Part("pinned", "shop/words", ("model.safetensors",), "", hashes={"model.safetensors": "0" * 64})
    with pytest.raises(WeightsError, match="arrived damaged"):
        fetch(part)


def test_a_disk_that_fills_up_in_the_middle(fetch, server, disk_of, tmp_path):
    with disk_of(6000), pytest.raises(WeightsError, match=r"no space left.*b\.safetensors.*what was fetched is kept"):
        fetch(BASE)
    [begun] = (tmp_path / "models" / "base").glob(".b.safetensors.*.part")
    assert 5000 <= begun.stat().st_size <= 6000
    assert fetch(BASE).kind == "complete"
    assert server.bodies("b.safetensors")[-1] == f"bytes={begun.stat().st_size if begun.exists() else 6000}-"


def test_too_small_a_disk_is_said_before_anything_is_fetched(fetch, server, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(WeightsError, match=r"horse needs 16\.2 KiB more, and .*models has 9\.8 KiB free.*HAPPYHORSE_"):
        fetch()
    assert not server.bodies() and state(HORSE, tmp_path / "models").kind == "absent"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(KeyboardInterrupt):
        fetch(progress=stop_at(8000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=TOTAL - 8000))
    assert fetch().kind == "complete"  # what is here already needs no room


def test_two_pulls_into_one_folder(fetch):
    def second(done, total, file):
        if not file:
            with pytest.raises(WeightsError, match="another pull is writing"):
                fetch()

    assert fetch(progress=second).kind == "complete"


def test_a_folder_that_may_not_be_written(fetch, tmp_path):
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(OutputError, match="models"):
        fetch()


# ------------------------------------------------------------------------------------------------------------- refusals
def test_gated_repositories_are_found_out_before_anything_is_fetched(fetch, server, monkeypatch, tmp_path):
    server.gated.add("shop/words")
    server.tokens = {"mine": {"shop/words"}, "others": set()}
    with pytest.raises(WeightsError) as refused:
        fetch()
    assert f"{server.endpoint}/shop/words" in str(refused.value) and "Shop terms" in str(refused.value)
    assert "hf auth login" in str(refused.value) and "HF_TOKEN" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 2
    with pytest.raises(WeightsError, match=r"has not accepted the terms of shop/words.*\nvisit http.*/shop/words$"):
        fetch(token="others")
    with pytest.raises(WeightsError, match=r"does not accept the token"):
        fetch(token="stale")
    assert not [1 for method, path, _ in server.asked if method == "GET" and "/api/" not in path]
    assert not (tmp_path / "models").exists()
    assert fetch(token="mine").kind == "complete"
    assert server.bodies() and not server.leaked


def test_a_mirror_that_refuses_without_a_reason(fetch, server):
    server.gated.add("shop/words")
    server.reason, server.tokens = "", {"others": set()}
    with pytest.raises(WeightsError, match="shop/words is gated: accept its terms"):
        fetch()
    with pytest.raises(WeightsError, match=r"does not accept the token for shop/words \(403\)"):
        fetch(token="others")


def test_a_repository_that_is_not_there(fetch, server):
    with pytest.raises(WeightsError, match=r"has no repository lab/pony.*\nor visit http.*/lab/pony and log in"):
        fetch(Part("pony", "lab/pony", ("*",), "", gate="perhaps"))


def test_a_repository_without_the_files(fetch, server):
    del server.repos["shop/words"]["model.safetensors"]
    with pytest.raises(WeightsError, match=r"shop/words holds no model\.safetensors, which text needs"):
        fetch()


def test_a_file_that_went_away_between_listing_and_fetching(fetch, server):
    def gone(*_):
        server.repos["lab/horse"].pop("base/b.safetensors", None)

    with pytest.raises(WeightsError, match=r"lab/horse holds no base/b\.safetensors"):
        fetch(progress=gone)


def test_no_network(fetch):
    with pytest.raises(WeightsError, match=r"connection to http://127\.0\.0\.1:9 failed .*check the network"):
        fetch(endpoint="http://127.0.0.1:9")


def test_a_hub_in_trouble_and_a_page_that_is_no_hub(fetch, server, monkeypatch):
    server.broken.add("lab/horse")
    with pytest.raises(WeightsError, match=r"answered 503 for lab/horse; try again later"):
        fetch()
    monkeypatch.setattr(Answer, "listing", lambda self, repo: self.content("page", b"<html>log in</html>"))
    with pytest.raises(WeightsError, match="does not answer as a hub"):
        fetch()


@pytest.mark.parametrize("facts", [{}, {"size": 5000}, {"blobId": "0" * 40}])
def test_a_hub_that_tells_no_sizes_or_no_hashes(fetch, monkeypatch, facts):
    monkeypatch.setattr(Answer, "sibling", lambda self, path, data: {"rfilename": path, **facts})
    with pytest.raises(WeightsError, match="tells no sizes and hashes of lab/horse"):
        fetch()


def test_offline_mode_is_respected(fetch, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        fetch()


def test_other_errors_of_the_disk_name_the_file(fetch, monkeypatch):
    rename = os.replace

    def refuse(source, target):
        if str(source).endswith(".part"):
            raise PermissionError(errno.EACCES, "no")
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"\.safetensors may not be written"):
        fetch(BASE)


# ---------------------------------------------------------------------------------------------------- verify and remove
def test_every_damaged_file_is_named_and_only_those_are_fetched_again(fetch, server, tmp_path):
    models = tmp_path / "models"
    fetch()
    assert verify(HORSE, folder=models) == verify(HORSE, quick=True, folder=models) == []
    flipped = bytearray(FILES["base/a.safetensors"])
    flipped[77] ^= 1
    (models / "base" / "a.safetensors").write_bytes(flipped)
    (models / "base" / "b.safetensors").write_bytes(FILES["base/b.safetensors"][:100])
    (models / "text" / "config.json").unlink()
    quick = ["base/b.safetensors is truncated: 100 bytes instead of 7500", "text/config.json is missing"]
    assert verify(HORSE, quick=True, folder=models) == quick
    seen = []
    found = verify(HORSE, progress=lambda *said: seen.append(said), folder=models)
    assert found[1:] == quick and re.fullmatch(
        r"base/a\.safetensors is damaged: its hash is not \w{16}\.\.\.", found[0]
    )
    assert [said[1] for said in seen] == [TOTAL] * 5
    assert state(HORSE, models).kind == "partial"
    server.asked.clear()
    assert fetch().kind == "complete"
    assert [span for _, path, span in server.asked if "/resolve/" in path and "model.safetensors" in path] == []
    assert verify(HORSE, folder=models) == []


def test_a_file_that_was_mended_by_hand_counts_again(fetch, server, tmp_path):
    models = tmp_path / "models"
    fetch()
    (models / "base" / "a.safetensors").write_bytes(bytes(5000))
    assert verify(HORSE, folder=models) and verify(HORSE, quick=True, folder=models)
    (models / "base" / "a.safetensors").write_bytes(FILES["base/a.safetensors"])
    assert verify(HORSE, folder=models) == [] and state(HORSE, models).kind == "complete"
    (models / "base" / "a.safetensors").unlink()
    assert verify(HORSE, folder=models) == ["base/a.safetensors is missing"]
    (models / "base" / "a.safetensors").write_bytes(FILES["base/a.safetensors"])
    server.asked.clear()
    assert fetch().kind == "complete" and not server.bodies()


def test_nothing_to_verify_or_remove(tmp_path):
    with pytest.raises(WeightsError, match="nothing of horse is here; get it with: happyhorse pull horse"):
        verify(HORSE, folder=tmp_path)
    with pytest.raises(WeightsError, match="nothing of horse is in"):
        remove(HORSE, folder=tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": [{"colour": 1}]}', '{"files": 3}', "\xff"])
def test_a_damaged_record_counts_as_none_and_a_pull_makes_it_again(fetch, server, tmp_path, text):
    fetch(BASE)
    base = tmp_path / "models" / "base"
    (base / "parts.json").write_text(text, encoding="latin-1")
    assert read_record(base) == []
    server.asked.clear()
    assert fetch(BASE).kind == "complete"
    assert not server.bodies() and len(read_record(base)) == 3


def lay(folder, *models, whole=True):
    """Puts a tiny file with a record into the folder of every part."""
    for part in (part for model in models for part in model.parts.values()):
        place = folder / part.name
        place.mkdir(parents=True, exist_ok=True)
        (place / "weights").write_bytes(bytes(100))
        hub._write_record(place, part, [hub.WantedFile("weights", 100 if whole else 200, "0" * 64)])


def test_shared_parts_stay_while_another_model_uses_them(tmp_path):
    base, distill, enlarger, _ = MODELS
    lay(tmp_path, base, distill, enlarger)
    done = remove(base, folder=tmp_path)
    assert (done.parts, done.bytes) == (("magihuman-base",), 100)
    assert done.kept == dict.fromkeys(("t5gemma", "wan-vae", "turbo-vae", "stable-audio"), ("magihuman-distill",))
    assert state(base, tmp_path).missing == ("magihuman-base",) and str(state(base, tmp_path)) == "lacks magihuman-base"
    done = remove(distill, folder=tmp_path)
    assert len(done.parts) == 5 and done.bytes == 500 and not done.kept
    assert [path.name for path in tmp_path.iterdir()] == ["magihuman-540p"]


def test_a_model_that_was_only_begun_keeps_its_shared_parts_as_well(tmp_path):
    base, distill, *_ = MODELS
    lay(tmp_path, distill)
    lay(tmp_path, PublicModel("", "", {"transformer": base.parts["transformer"]}), whole=False)
    assert remove(distill, folder=tmp_path).parts == ("magihuman-distill",)


def test_a_shared_part_is_removed_only_by_force(tmp_path):
    distill = MODELS[1]
    lay(tmp_path, distill)
    text = PublicModel("t5gemma", "", {"text": distill.parts["text"]})
    with pytest.raises(WeightsError, match=r"t5gemma is used by magihuman-distill; .*rm magihuman-distill.*--force"):
        remove(text, folder=tmp_path)
    assert remove(text, force=True, folder=tmp_path).parts == ("t5gemma",)
    assert state(distill, tmp_path).missing == ("t5gemma",)


def test_what_is_here_by_default_is_looked_for_in_the_models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HAPPYHORSE_MODELS", str(tmp_path))
    assert state(MODELS[0]).kind == "absent"
    lay(tmp_path, MODELS[0])
    assert state(MODELS[0]).kind == "complete"
    assert Path(hub.part_folder(BASE)) == tmp_path / "base"
