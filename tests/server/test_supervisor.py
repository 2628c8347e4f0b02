from pathlib import Path

import pytest
import torch

pytest.importorskip("sqlalchemy")

from happyhorse.errors import ConfigError
from happyhorse.server import supervisor
from happyhorse.server.settings import Settings
from happyhorse.server.supervisor import RESTART_SECONDS, STEADY_SECONDS, Supervisor, devices_of, worker_environment


class Process:
    """A worker that ends when a test says so."""

    def __init__(self, command: list[str], **_: object) -> None:
        self.command, self.code, self.pid = command, None, id(self)

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(supervisor.subprocess, "Popen", Process)
    return Supervisor(Settings(folder=tmp_path), ("cpu",))


def test_a_worker_that_ends_is_started_again_after_growing_pauses(watched: Supervisor) -> None:
    (slot,) = watched._slots
    watched._start(slot)
    now = slot.begun_at = 1000.0
    for pause in RESTART_SECONDS[1:]:
        slot.process.code = 1  # type: ignore[union-attr]
        watched._look_after(slot, now)
        assert slot.process is None and slot.due_at == now + pause
        watched._look_after(slot, now + pause - 0.01)
        assert slot.process is None
        now += pause
        watched._look_after(slot, now)
        assert slot.process is not None
        slot.begun_at = now
    slot.process.code = -9
    watched._look_after(slot, now + STEADY_SECONDS + 1)
    assert slot.process.code is None  # one that ran for long starts again at once


def test_workers_run_where_the_settings_say(tmp_path: Path) -> None:
    def devices(*workers: str) -> tuple[str, ...]:
        return devices_of(Settings(folder=tmp_path, workers=workers, stub=True))

    assert devices("none") == () and devices("cuda:0", "cuda:1") == ("cuda:0", "cuda:1") and devices("auto") == ("cpu",)


@pytest.mark.parametrize(
    ("device", "reason"),
    [("cuda:1", "worker 'cuda:1' has no device: CUDA devices here: 1"), ("gpu", "worker 'gpu' is no device; give cpu")],
)
def test_a_device_that_is_not_there_is_said_before_anything_is_served(tmp_path: Path, monkeypatch, device, reason):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert devices_of(Settings(folder=tmp_path, workers=("cpu", "cuda", "cuda:0"))) == ("cpu", "cuda", "cuda:0")
    with pytest.raises(ConfigError, match=reason):
        devices_of(Settings(folder=tmp_path, workers=("cpu", device)))


def test_a_worker_knows_the_settings_and_yields_to_its_neighbours(tmp_path: Path) -> None:
    settings = Settings(folder=tmp_path, lease_seconds=7)
    environment = worker_environment(settings, {"PATH": "/bin"})
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE" and environment["PATH"] == "/bin"
    assert Settings.read(environment=environment).lease_seconds == 7
