import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from happyhorse.cli import serve
from happyhorse.cli.main import run
from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.server.keys import Keys
from happyhorse.server.settings import Settings


def test_keys_are_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    serve.create_key("studio", ["generate", "read"], folder=tmp_path, per_minute=6, days=1)
    secret = capsys.readouterr().out.strip()
    key = Keys(tmp_path).check(secret, "read")
    assert key.limits is not None and key.limits.per_minute == 6 and key.limits.concurrent == 16
    serve.list_keys(tmp_path, as_json=True)
    (line,) = capsys.readouterr().out.splitlines()
    listed = json.loads(line)
    assert (listed["name"], listed["scopes"], listed["state"]) == ("studio", ["generate", "read"], "good")
    assert secret not in line and secret.startswith(listed["id"])
    serve.revoke_key(listed["id"], tmp_path)
    serve.list_keys(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1].endswith("revoked")


def test_an_address_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be listened at \([^(]*\); .*--port"):
            serve.listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="no.such.host.invalid:80"):
        serve.listen("no.such.host.invalid", 80)
    with serve.listen("localhost", 0) as other:
        assert other.getsockname()[1] > 0


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PACKAGES", ("fastapi", "no_such_package"))
    with pytest.raises(MissingToolError, match=r"no_such_package: pip install 'happyhorse\[server\]'"):
        serve.serve({})


def test_options_are_settings_and_what_is_left_out_is_left_to_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = list[dict[str, Any]]()
    monkeypatch.setattr(serve, "serve", lambda arguments: given.append(arguments) or 0)
    lists = ["--fetch-host", "a.example.com", "--fetch-host", ".b.example", "--webhook-host", "hooks.example.com"]
    assert run(["serve", *lists, "--keep-days", "1.5", "--batch", "2", "--stub", "--folder", str(tmp_path)]) == 0
    assert run(["serve", "--engine", "ray", "--address", "auto", "--slots", "3", "--worker", "cpu", "--no-stub"]) == 0
    assert run(["serve"]) == 0
    first, second, third = (
        Settings.read(one, {"HAPPYHORSE_SERVE_STUB": "yes", "HAPPYHORSE_SERVE_KEEP_DAYS": "9"}) for one in given
    )
    assert (first.fetch_hosts, first.webhook_hosts) == (("a.example.com", ".b.example"), ("hooks.example.com",))
    assert (first.keep_days, first.batch, first.stub) == (1.5, 2, True)
    assert (second.engine, second.address, second.slots, second.workers) == ("ray", "auto", 3, ("cpu",))
    assert (second.stub, second.keep_days) == (False, 9)
    assert given[2] == {} and (third.stub, third.keep_days, third.engine) == (True, 9, "processes")


def test_what_an_option_cannot_be_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for options, said in (
        (["--keep-days", "0"], "error: keep_days is 0.0; it must be more than 0, or left out to keep everything"),
        (["--batch", "-1"], "error: batch is -1; it must be at least 0"),
        (["--slots", "2"], "error: address and slots are Ray's; give --engine ray with them, or leave them out"),
    ):
        assert run(["serve", "--folder", str(tmp_path), *options]) == 2
        assert capsys.readouterr().err.splitlines() == [said]


def test_without_ray_its_engine_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(["serve", "--folder", str(tmp_path), "--port", "0", "--engine", "ray"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --engine ray needs ray: pip install 'happyhorse[ray]', or leave --engine out"
    ]
