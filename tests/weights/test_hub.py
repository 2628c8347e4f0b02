import errno
import hashlib
import json
import os
import shutil
import time

import huggingface_hub.constants
import pytest

from happyhorse.errors import OutputError, WeightsError
from happyhorse.weights.catalogue import INDEX, Part, PublicModel
from happyhorse.weights.hub import pull
from happyhorse.weights.kept import RECORD, read_record, state, verify

CHUNK = 1000


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
def server(fake_hub):
    fake_hub.repos = {"lab/horse": dict(FILES), "shop/words": dict(WORDS)}
    return fake_hub


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    """Pulls from the fake hub into ``tmp_path / "models"``, in chunks of 1000 bytes, without waiting between tries."""
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def go(wanted=HORSE, progress=None, token=False, endpoint=server.endpoint):
        return pull(wanted, progress, folder=tmp_path / "models", endpoint=endpoint, token=token)

    return go


def files(folder):
    own = (RECORD, ".lock")
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
        assert entry["commit"] == server.commit
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
    assert fetched == [f"/lab/horse/resolve/{server.commit}/base/b.safetensors"]
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
    answer = server.RequestHandlerClass
    monkeypatch.setattr(answer, "listing", lambda self, repo: self.content("page", b"<html>log in</html>"))
    with pytest.raises(WeightsError, match="does not answer as a hub"):
        fetch()


@pytest.mark.parametrize("facts", [{}, {"size": 5000}, {"blobId": "0" * 40}])
def test_a_hub_that_tells_no_sizes_or_no_hashes(fetch, server, monkeypatch, facts):
    answer = server.RequestHandlerClass
    monkeypatch.setattr(answer, "sibling", lambda self, path, data: {"rfilename": path, **facts})
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


# ------------------------------------------------------------------------------------------------------------ telemetry
def test_the_hub_hears_nothing_of_this_machine(fetch, server, monkeypatch):
    constants, looked = huggingface_hub.constants, []
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    # what would ask the real hub for the list of programs that may have called
    monkeypatch.setattr("huggingface_hub.utils._headers.detect_agent", lambda: looked.append(1), raising=False)
    fetch()
    assert server.clients and not [client for client in server.clients if "torch" in client] and not looked
    with pytest.raises(WeightsError):
        fetch(endpoint="http://127.0.0.1:9")
    assert constants.HF_HUB_DISABLE_TELEMETRY is False  # as the user has it, for whatever else asks the hub


# -------------------------------------------------------------------------------------------------------------- mending
def test_only_damaged_files_are_fetched_again(fetch, server, tmp_path):
    models = tmp_path / "models"
    fetch()
    (models / "base" / "a.safetensors").write_bytes(bytes(5000))
    (models / "base" / "b.safetensors").write_bytes(FILES["base/b.safetensors"][:100])
    (models / "text" / "config.json").unlink()
    assert len(verify(HORSE, folder=models)) == 3
    server.asked.clear()
    assert fetch().kind == "complete"
    assert [span for _, path, span in server.asked if "/resolve/" in path and "model.safetensors" in path] == []
    assert verify(HORSE, folder=models) == []


def test_a_file_that_was_mended_by_hand_is_not_fetched(fetch, server, tmp_path):
    models = tmp_path / "models"
    fetch()
    (models / "base" / "a.safetensors").unlink()
    assert verify(HORSE, folder=models) == ["base/a.safetensors is missing"]
    (models / "base" / "a.safetensors").write_bytes(FILES["base/a.safetensors"])
    server.asked.clear()
    assert fetch().kind == "complete" and not server.bodies()


def test_a_damaged_record_is_made_again(fetch, server, tmp_path):
    fetch(BASE)
    base = tmp_path / "models" / "base"
    (base / "parts.json").write_text("{")
    server.asked.clear()
    assert fetch(BASE).kind == "complete"
    assert not server.bodies() and len(read_record(base)) == 3
