"""The deployment page and its files name only what there is: options, settings, metrics."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

pytest.importorskip("fastapi")

from happyhorse.cli.main import app
from happyhorse.server.jobs import Jobs
from happyhorse.server.metrics import Metrics
from happyhorse.server.presence import Presence
from happyhorse.server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
SERVICE = (ROOT / "docs" / "service.md").read_text("utf-8")
FILES = {path.name: path.read_text("utf-8") for path in (ROOT / "examples" / "deployment").iterdir()}
MANIFEST: list[dict[str, Any]] = list(yaml.safe_load_all(FILES["raycluster.yaml"]))


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in MANIFEST if document["kind"] == kind]


def containers() -> list[dict[str, Any]]:
    (cluster,), (server,) = of_kind("RayCluster"), of_kind("Deployment")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    templates = [*(group["template"] for group in groups), server["spec"]["template"]]
    return [template["spec"]["containers"][0] for template in templates]


def test_every_setting_is_one_and_can_be_read() -> None:
    lines = [line.partition("=") for line in FILES["service.env"].splitlines() if line.startswith(PREFIX)]
    settings = Settings.read(environment={name: value for name, _, value in lines})
    assert settings.asks_for_keys and settings.public_names == ("video.example.com",) and settings.keep_days == 30
    named = set(re.findall(rf"{PREFIX}(\w+)", "\n".join([PAGE, *FILES.values()])))
    assert named and {name.lower() for name in named} <= Settings.__dataclass_fields__.keys()


def test_every_option_of_serve_is_one() -> None:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    text = re.sub(r"\\\n", " ", "\n".join([PAGE, *FILES.values()]))
    used = {
        option
        for line in re.findall(r"^\s*(?:ExecStart=\S*/)?happyhorse serve(.*)$", text, re.MULTILINE)
        for option in re.findall(r"--[\w-]+", line)
    }
    assert {"--engine", "--address", "--worker"} <= used <= known


def test_the_table_of_settings_has_every_option() -> None:
    table = re.search(r"^## Settings$(.*?)^## ", SERVICE, re.MULTILINE | re.DOTALL)
    assert table is not None
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    known = {name for option in command.params for name in option.opts} - {"--debug", "--help"}
    assert set(re.findall(r"`(--[\w-]+)`", table[1])) == known | {"--no-keys"}


def test_every_metric_is_there(tmp_path: Path) -> None:
    queue = Jobs(tmp_path / "jobs.sqlite")
    metrics = Metrics(queue, Presence(queue), lambda: 0)
    metrics.record("GET", "/v1/videos", 200, 0.1)
    text = metrics.text().decode()
    queue.close()
    there = set(re.findall(r"^# TYPE (\w+) \w+", text, re.MULTILINE))
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(happyhorse_\w+)", PAGE)}
    assert named == {name for name in there if not name.endswith("_created")}


def test_the_manifest_holds_together() -> None:
    head, worker, server = containers()
    assert len({one["image"] for one in (head, worker, server)}) == 1
    (cluster,) = of_kind("RayCluster")
    assert f"rayproject/ray:{cluster['spec']['rayVersion']}-" in PAGE
    environment = {one["name"]: one for one in server["env"]}
    assert environment["RAY_HEAD"]["value"] == f"{cluster['metadata']['name']}-head-svc:6379"
    assert environment["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == cluster["metadata"]["name"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    here = {document["metadata"]["name"] for document in of_kind("Secret")}
    assert {source["secretRef"]["name"] for one in (worker, server) for source in one["envFrom"]} == here
    claims = {document["metadata"]["name"] for document in of_kind("PersistentVolumeClaim")}
    assert set(re.findall(r"claimName: ([\w-]+)", FILES["raycluster.yaml"])) == claims


def test_the_servers_settings_in_the_manifest_make_a_cluster() -> None:
    given = {one["name"]: one["value"] for one in containers()[-1]["env"] if "value" in one}
    (secret,) = (one for one in of_kind("Secret") if one["metadata"]["name"] == "happyhorse-service")
    variables = {name: value for name, value in {**given, **secret["stringData"]}.items() if name.startswith(PREFIX)}
    settings = Settings.read({"engine": "ray", "address": "auto", "workers": ("cuda",)}, variables)
    assert settings.database.startswith("postgresql://") and settings.store.startswith("s3://")


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    assert targets and all((ROOT / "docs" / target).exists() for target in targets)
