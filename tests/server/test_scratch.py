import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.scratch import YOUNG_SECONDS, scratch_folder, sweep
from happyhorse.server.settings import Settings

KILLED = """
import os, signal, sys, tempfile
tempfile.tempdir = sys.argv[1]
from happyhorse.server.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "clip.mp4").write_bytes(b"half a clip")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_what_a_killed_process_left_is_swept(process: Callable, temporary: Path) -> None:
    child = process(KILLED, temporary)
    left = Path(child.stdout.readline().strip())
    child.wait(20)
    assert (left / "clip.mp4").exists()
    assert sweep() == 0  # it is young: its process may be about to lock it
    assert sweep(time.time() + YOUNG_SECONDS + 1) == 1 and not left.exists()


def test_what_is_in_use_or_not_ours_stays(temporary: Path) -> None:
    (temporary / "happyhorse-file").write_bytes(b"")
    (temporary / "other").mkdir()
    (temporary / "happyhorse-link").symlink_to(temporary / "other")
    with scratch_folder() as folder:
        old = time.time() - 1e6
        os.utime(folder, (old, old))
        assert sweep(time.time() + YOUNG_SECONDS + 1) == 0 and folder.is_dir()
    assert not folder.exists() and (temporary / "other").is_dir()


def test_a_server_sweeps_when_it_starts_and_has_a_folder_of_its_own(tmp_path: Path, temporary: Path) -> None:
    left = temporary / "happyhorse-left"
    left.mkdir()
    os.utime(left, (1, 1))
    app = create_app(Settings(folder=tmp_path / "service", stub=True))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        assert not left.exists() and service.incoming.parent == temporary
        assert service.inspector._process is not None and service.inspector._process.poll() is None
    assert not list(temporary.iterdir())
