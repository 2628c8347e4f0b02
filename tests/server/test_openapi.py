"""Requests drawn from our own OpenAPI document, right ones and wrong ones: nothing breaks, nothing is undocumented."""

import contextlib
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from happyhorse.server.app import create_app
from happyhorse.server.settings import Settings
from happyhorse.server.worker import Worker, makers_of

EXAMPLES = 3


def nothing_breaks(context, response, case) -> None:
    """503 and 504 are answers (no worker, not in time), and 500 never is."""
    assert response.status_code not in (500, 501, 502), response.text


SLOW = list(HealthCheck)
CHECKS = [
    nothing_breaks,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder = tmp_path_factory.mktemp("service")
    reach = {"public_names": ("testserver",), "sync_seconds": 0}
    made = create_app(Settings(folder=folder, arena=folder / "arena", stub=True, **reach))
    with TestClient(made, base_url="http://127.0.0.1"):
        yield made


@pytest.fixture(scope="module")
def video(app: FastAPI) -> str:
    """A finished clip."""
    service = app.state.service
    name = TestClient(app, base_url="http://127.0.0.1").post("/v1/videos", json={"prompt": "a ball"}).json()["id"]
    assert Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", True)).work_once()
    return name


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_requests_of_all_kinds(app: FastAPI, video: str, mode: GenerationMode) -> None:
    api = schemathesis.openapi.from_asgi("/openapi.json", app)
    for operation in (found.ok() for found in api.get_all_operations()):

        @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=SLOW)
        @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
        def ask(case, there: bool) -> None:
            if there and case.method != "DELETE":
                names = {"video_id", "task_id"} & set(case.path_parameters or {})
                case.path_parameters.update(dict.fromkeys(names, video))
            case.call_and_validate(checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong about a request without parameters
            ask()
