import hashlib
import os
import signal
import threading
import time
import uuid
from pathlib import Path

import pytest

from happyhorse.errors import ConfigError, MediaError, OutputError
from happyhorse.server.blobs import Blob, Blobs
from happyhorse.server.records import referenced

CLIP = b"a clip" * 1000
HASH = hashlib.sha256(CLIP).hexdigest()


@pytest.fixture(scope="module")
def s3_server():
    """An S3 server on this machine, which the environment leads to."""
    pytest.importorskip("s3fs", reason="pip install s3fs")
    server = pytest.importorskip("moto.server", reason="pip install 'moto[server]'")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*running.get_host_and_port()))
        yield running
    running.stop()


def s3_bucket():
    import s3fs  # type: ignore[import-not-found]

    bucket = f"clips-{uuid.uuid4().hex}"
    s3fs.S3FileSystem().mkdir(bucket)
    return f"s3://{bucket}/kept"


@pytest.fixture(params=["path", "file", "memory", "s3"])
def blobs(request, tmp_path):
    if request.param == "s3":
        request.getfixturevalue("s3_server")
        return Blobs(s3_bucket())
    places = {"path": tmp_path / "blobs", "file": f"file://{tmp_path}/blobs", "memory": f"memory://{uuid.uuid4().hex}"}
    return Blobs(places[request.param])


def test_bytes_and_files_come_back_under_their_hash(blobs, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(CLIP)
    expected = Blob(HASH, len(CLIP), "video/mp4")
    assert blobs.put_bytes(CLIP, "video/mp4") == expected
    assert blobs.put_file(tmp_path / "clip.mp4", "video/mp4") == expected
    assert blobs.exists(HASH) and blobs.intact(HASH) and blobs.size(HASH) == len(CLIP)
    with blobs.open(HASH) as file:
        file.seek(6)
        assert file.read() == CLIP[6:]
    assert [(blob.hash, blob.bytes) for blob in blobs.stored()] == [(HASH, len(CLIP))]  # two puts, one blob


def test_nothing_at_all_is_a_blob_too(blobs):
    empty = blobs.put_bytes(b"", "text/plain")
    assert empty.bytes == 0 and blobs.size(empty.hash) == 0


def test_large_ones_come_back_too(blobs, monkeypatch):
    monkeypatch.setattr("happyhorse.server.blob_stores._WHOLE", 1000)
    assert blobs.intact(blobs.put_bytes(CLIP, "video/mp4").hash)


def test_a_deleted_blob_is_gone_and_can_be_put_again(blobs):
    blobs.put_bytes(CLIP, "video/mp4")
    assert blobs.delete(HASH) and not blobs.delete(HASH)
    assert not blobs.exists(HASH) and list(blobs.stored()) == []
    for ask in (blobs.open, blobs.size, blobs.local_path):
        with pytest.raises(MediaError, match=f"the blob {HASH[:16]}... is not there"):
            ask(HASH)
    blobs.put_bytes(CLIP, "video/mp4")
    assert blobs.intact(HASH)


@pytest.mark.parametrize(
    "name", ["", "../../etc/passwd", "/etc/passwd", HASH.upper(), HASH[:-1], HASH + "\n", f"{HASH}/.."]
)
def test_no_other_name_becomes_a_path(blobs, name):
    for ask in (blobs.open, blobs.size, blobs.local_path, blobs.delete):
        with pytest.raises(MediaError, match="is not the hash of a blob; it must be 64 hex digits"):
            ask(name)
    assert not blobs.exists(name)


def test_putting_again_makes_a_blob_young(blobs):
    blobs.put_bytes(CLIP, "video/mp4")
    first = next(blobs.stored()).modified
    blobs.put_bytes(CLIP, "video/mp4")
    again = next(blobs.stored()).modified
    assert again >= first > time.time() - 60
    assert not blobs.delete(HASH, before=again - 1) and blobs.exists(HASH)
    assert blobs.delete(HASH, before=again) and not blobs.exists(HASH)


def test_only_a_folder_has_paths(tmp_path):
    for place in (tmp_path / "a", f"file://{tmp_path}/a", str(tmp_path / "a")):
        blobs = Blobs(place)
        blobs.put_bytes(CLIP, "video/mp4")
        assert blobs.local_path(HASH) == tmp_path / "a" / HASH[:2] / HASH
    memory = Blobs("memory://paths")
    memory.put_bytes(CLIP, "video/mp4")
    assert memory.local_path(HASH) is None


def test_a_blob_that_was_damaged_is_not_intact(tmp_path):
    blobs = Blobs(tmp_path)
    blobs.put_bytes(CLIP, "video/mp4")
    path = blobs.local_path(HASH)
    assert path is not None
    path.write_bytes(CLIP[:-1])
    assert not blobs.intact(HASH)
    blobs.put_bytes(CLIP, "video/mp4")
    assert blobs.intact(HASH)


def test_a_full_disk_leaves_nothing_behind(tmp_path, disk_of):
    blobs = Blobs(tmp_path / "blobs")
    with disk_of(1000), pytest.raises(OutputError, match="no space left to write"):
        blobs.put_bytes(CLIP, "video/mp4")
    assert not blobs.exists(HASH)
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != "lock"] == []


def test_a_process_killed_while_it_puts_leaves_no_blob_and_its_rest_is_swept(tmp_path, process):
    code = """
    import os, signal, sys
    from pathlib import Path
    from happyhorse.server.blobs import Blobs
    blobs = Blobs(Path(sys.argv[1]))
    os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
    blobs.put_bytes(b"a clip" * 1000, "video/mp4")
    """
    killed = process(code, tmp_path)
    assert killed.wait() == -signal.SIGKILL
    blobs = Blobs(tmp_path)
    assert not blobs.exists(HASH)
    (rest,) = (tmp_path / "incoming").iterdir()
    assert rest.read_bytes() == CLIP
    assert blobs.sweep(before=rest.stat().st_mtime - 1) == 0
    assert blobs.sweep(before=rest.stat().st_mtime) == 1
    assert list((tmp_path / "incoming").iterdir()) == []


def test_a_put_wins_against_deletions_of_what_was_old(tmp_path):
    blobs = Blobs(tmp_path)
    stop = threading.Event()

    def deleting():
        while not stop.is_set():
            blobs.delete(HASH, before=10_000)

    thread = threading.Thread(target=deleting)
    thread.start()
    for _ in range(50):
        blobs.put_bytes(CLIP, "video/mp4")
        assert blobs.exists(HASH)
        os.utime(tmp_path / HASH[:2] / HASH, (1, 1))
    stop.set()
    thread.join()


def test_missing_files_and_other_places_are_said(tmp_path):
    with pytest.raises(MediaError, match=r"none\.mp4 cannot be read: No such file or directory"):
        Blobs(tmp_path).put_file(tmp_path / "none.mp4", "video/mp4")
    with pytest.raises(ConfigError, match="blobs cannot be kept in ftp://"):
        Blobs("ftp://host/clips")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Blobs(tmp_path / "file" / "blobs")


def test_hashes_are_found_wherever_they_are_in_a_record():
    a, b, c = "a" * 64, "b" * 64, "c" * 64
    record = {"video": a, "media": {"image": {"blob": b}}, "all": [c, 1, None, {"x": (a,)}], "text": f"see {a}", "n": 3}
    assert referenced(record) == {a, b, c}
    assert referenced(None) == referenced("a" * 63) == referenced(5) == set()


def test_a_store_on_a_path_with_strange_letters(tmp_path):
    place = Path(tmp_path / "mit Leerzeichen # %41 ?")
    blobs = Blobs(place)
    assert blobs.intact(blobs.put_bytes(CLIP, "video/mp4").hash)


def test_a_bucket_that_is_not_there_is_said(s3_server):
    blobs = Blobs("s3://nobody-made-this/kept")
    with pytest.raises(OutputError, match="there is no blob store nobody-made-this/kept; make the bucket first"):
        blobs.put_bytes(CLIP, "video/mp4")
    assert not blobs.exists(HASH)
