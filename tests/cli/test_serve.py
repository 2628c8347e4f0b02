import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from happyhorse.cli import serve
from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.server.keys import Keys


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
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port} cannot be listened at .*--port"):
            serve.listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match="no.such.host.invalid:80"):
        serve.listen("no.such.host.invalid", 80)
    with serve.listen("localhost", 0) as other:
        assert other.getsockname()[1] > 0


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "PACKAGES", ("fastapi", "no_such_package"))
    with pytest.raises(MissingToolError, match=r"no_such_package: pip install 'happyhorse\[server\]'"):
        serve.serve({})
