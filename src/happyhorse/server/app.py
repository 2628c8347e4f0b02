"""The HTTP service: ``create_app(settings)`` gives the ASGI application, which ``happyhorse serve`` runs.

Workers are processes of their own (``engines``); the application submits, tells and serves what they make. What may
block is called in threads.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Scope

import happyhorse
from happyhorse.arena.arena import arena_folder
from happyhorse.errors import HappyhorseError
from happyhorse.server import arena_routes, dashscope, videos
from happyhorse.server.background import background
from happyhorse.server.blobs import Blobs
from happyhorse.server.documents import refusals
from happyhorse.server.engines import Engine
from happyhorse.server.errors import FieldError, ServiceError, dashscope_body, refusal, videos_body
from happyhorse.server.forms import words
from happyhorse.server.guards import Guards
from happyhorse.server.inspection import Inspector
from happyhorse.server.jobs import Jobs
from happyhorse.server.keys import Keys, needs_keys
from happyhorse.server.metrics import Metrics
from happyhorse.server.offers import Offers
from happyhorse.server.pages import STUDIO, add_pages
from happyhorse.server.presence import Presence
from happyhorse.server.scratch import scratch_folder, sweep
from happyhorse.server.service import Service, in_thread, token_of
from happyhorse.server.settings import Settings
from happyhorse.server.sse import Listeners

TITLE = "happyhorse"
DESCRIPTION = """A prompt becomes a video with its sound.

POST /v1/videos submits a clip, GET /v1/videos/{id} says how far it is, GET /v1/videos/{id}/content is the mp4. Clients
of other video servers work as they are; those of HappyHorse's hosted service find its dialect under /api/v1.

Where the server asks for a key, send it as Authorization: Bearer hh_..."""
log = logging.getLogger("happyhorse.server")


def create_app(
    settings: Settings,
    *,
    jobs: Jobs | None = None,
    blobs: Blobs | None = None,
    keys: Keys | None = None,
    offers: Offers | None = None,
    engine: Engine | None = None,
    studio: Path = STUDIO,
) -> FastAPI:
    """The application. What is not given is made from the settings; ``engine``, which runs workers, starts and stops
    with it.

    Raises ConfigError, WeightsError or JobStoreError for what cannot be served.
    """
    queue = jobs or Jobs(settings.database_url, keep_seconds=settings.keep_seconds)
    if settings.asks_for_keys:
        keys = keys or Keys(settings.folder, pepper=settings.pepper.encode())
    service = Service(
        settings=settings,
        queue=queue,
        blobs=blobs or Blobs(settings.store_url),
        offers=offers or Offers.load(settings.models),
        keys=keys if settings.asks_for_keys else None,
        inspector=Inspector(settings.uploads),
        presence=Presence(queue),
    )
    listeners = Listeners(queue, settings.listeners_max)
    metrics = Metrics(queue, service.presence, lambda: len(listeners))
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        version=happyhorse.__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(service, metrics, engine),
    )
    app.state.service, app.state.listeners = service, listeners
    _add_refusals(app)
    app.include_router(videos.router(service, listeners))
    app.include_router(dashscope.router(service))
    _add_arena(app, service)
    _add_health(app, service, metrics)
    add_pages(app, studio)
    _finish_document(app, service)
    app.add_middleware(
        Guards,
        body_bytes=int(settings.body_mib * 2**20),
        names=None if needs_keys(settings.host) else settings.public_names,
        refuse=_refuse,
        record=metrics.record,
    )
    return app


def _lifespan(service: Service, metrics: Metrics, engine: Engine | None):
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await in_thread(sweep)
        threads = background(service, metrics)
        for thread in threads:
            thread.start()
        service.inspector.start()
        if engine:
            engine.start()
        try:
            with scratch_folder() as service.incoming:
                yield
        finally:
            if engine:
                await in_thread(engine.stop)
            for thread in threads:
                await in_thread(thread.stop)
            service.inspector.close()
            service.queue.close()

    return lifespan


# ------------------------------------------------------------------------------------------------------------- refusals
def _add_refusals(app: FastAPI) -> None:
    """Every error as its dialect tells it."""

    @app.exception_handler(HappyhorseError)
    def on_refusal(request: Request, error: Exception) -> Response:
        found = refusal(error)
        if found.status >= 500 and found is not error:
            log.error("%s %s: %s", request.method, request.url.path, error)
        return _answer(request.scope, found)

    @app.exception_handler(RequestValidationError)
    def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        name, shown = str(first["loc"][-1]), str(first.get("input"))[:60]
        return _answer(request.scope, FieldError(name, f"{name} is {shown!r}: {words(first['msg'])}"))

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code, message = _HTTP.get(error.status_code, ("error", str(error.detail)))
        answer = _answer(request.scope, ServiceError(error.status_code, code, message))
        answer.headers.update(error.headers or {})
        return answer


_HTTP = {
    404: ("not_found", "there is nothing at this address; see /docs"),
    405: ("method_not_allowed", "this address takes other methods; see /docs"),
}


def _answer(scope: Scope, error: ServiceError) -> JSONResponse:
    if scope["path"].startswith(dashscope.PREFIX):
        body = dashscope_body(error, scope["state"]["request_id"])
    else:
        body = videos_body(error)
    return JSONResponse(body, error.status, headers=error.headers)


def _refuse(scope: Scope, error: ServiceError) -> ASGIApp:
    return _answer(scope, error)


def _add_arena(app: FastAPI, service: Service) -> None:
    def may_vote(request: Request) -> None:
        service.caller(token_of(request), "vote")

    folder = arena_folder(service.settings.arena)
    app.include_router(arena_routes.router(folder), dependencies=[Depends(may_vote)])


# --------------------------------------------------------------------------------------------------------------- health
def _add_health(app: FastAPI, service: Service, metrics: Metrics) -> None:
    ready: dict[int | str, dict[str, Any]] = {
        200: {"description": "Ready."},
        503: {"description": "Not ready, and why."},
    }

    @app.get("/healthz", tags=["health"], summary="Is the process up?")
    async def healthz() -> dict[str, str]:
        """Answers as long as the process does."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"], summary="Can clips be made?", responses=ready)
    def readyz() -> JSONResponse:
        """Whether the database answers and a worker was seen in the last minute."""
        try:
            here = service.presence.here()
        except HappyhorseError:
            return JSONResponse({"status": "not ready", "reason": "the database does not answer"}, 503)
        if not here:
            return JSONResponse({"status": "not ready", "reason": "no worker was seen in the last minute"}, 503)
        return JSONResponse({"status": "ok", "workers": len(here)})

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The numbers."}}

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Numbers for Prometheus",
        responses={**text, **refusals(401, 403, 429, 500, 503)},
        response_class=PlainTextResponse,
    )
    def numbers(request: Request) -> Response:
        """Where keys are asked for, of an admin."""
        service.caller(token_of(request), "admin")
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


# ------------------------------------------------------------------------------------------------------------- document
def _finish_document(app: FastAPI, service: Service) -> None:
    """Adds to the OpenAPI document what FastAPI does not know: keys, and that 422 is told as 400."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = made()
            for methods in document["paths"].values():
                for route in methods.values():
                    if "HTTPValidationError" in str(route["responses"].get("422")):
                        del route["responses"]["422"]
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            if service.keys is not None:
                document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                document["security"] = [{"key": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi
