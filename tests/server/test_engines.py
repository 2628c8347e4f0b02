import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.server import engines
from happyhorse.server.settings import Settings


def settings(folder: Path, **values: Any) -> Settings:
    return Settings.from_dict({"folder": folder, "stub": True, **values})


def with_ray(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    spec = importlib.util.find_spec("json") if there else None
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda _: spec)


def test_where_workers_are_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ray(monkeypatch, True)
    assert engines.engine_of(settings(tmp_path, workers=("cpu", "cuda:1"))).where == "cpu, cuda:1"
    assert engines.engine_of(settings(tmp_path, engine="ray")).where == "Ray on this machine"
    assert engines.engine_of(settings(tmp_path, engine="ray", workers=("none",))).where == "other machines"


def test_without_ray_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_ray(monkeypatch, False)
    with pytest.raises(MissingToolError, match=r"--engine ray needs ray: pip install 'happyhorse\[ray\]', or leave"):
        engines.engine_of(settings(tmp_path, engine="ray"))


def test_what_the_foreman_finds_wrong_is_said_before_anything_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_ray(monkeypatch, True)
    answers = [(2, "Ray said much\nthe cluster is not there; start it\n"), (0, "")]
    asked = list[list[str]]()

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        asked.append(command)
        code, said = answers[len(asked) - 1]
        return subprocess.CompletedProcess(command, code, said, "a warning")

    monkeypatch.setattr(engines.subprocess, "run", run)
    remote = settings(tmp_path, engine="ray", address="head:6379")
    with pytest.raises(ConfigError, match="^the cluster is not there; start it$"):
        engines.engine_of(remote)
    assert engines.engine_of(remote).where == "Ray at head:6379"
    assert asked == 2 * [[sys.executable, "-m", "happyhorse.server.foreman", "--check"]]


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    for wrong, why in (
        ({"engine": "mpi"}, "engine is 'mpi'; it must be processes or ray"),
        ({"address": "auto"}, "address and slots are Ray's; give --engine ray"),
        ({"slots": 2}, "address and slots are Ray's"),
        ({"engine": "ray", "workers": ("cuda:0", "cuda:1")}, "workers is cuda:0, cuda:1; with Ray it must be one of"),
        ({"engine": "ray", "address": "ray://head:10001"}, "address is ray://head:10001; give HOST:PORT or auto"),
        ({"engine": "ray", "slots": -1}, "slots is -1; it must be at least 0"),
    ):
        with pytest.raises(ConfigError, match=why):
            settings(tmp_path, **wrong)
