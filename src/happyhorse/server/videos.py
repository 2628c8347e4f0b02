"""The /v1/videos dialect: what open video servers and their clients speak."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from happyhorse.server import submitting
from happyhorse.server.bodies import read_body
from happyhorse.server.contents import content, tag
from happyhorse.server.documents import EVENT, READING, SENDING, refusals, takes
from happyhorse.server.errors import FieldError, ServiceError
from happyhorse.server.forms import CreateVideo, Edit, Extend, ListOrder, Nothing, Remix, Render, Variant, parse
from happyhorse.server.records import COMPLETED, FAILED, STATUSES, is_job_id
from happyhorse.server.service import Caller, Service, in_thread, token_of
from happyhorse.server.sse import Listeners, last_event, stream
from happyhorse.server.submitting import REFERENCES, Answer, Asked
from happyhorse.server.views import (
    Deleted,
    ErrorBody,
    Estimate,
    ModelList,
    Secret,
    Video,
    VideoList,
    Videos,
    listing,
    video,
    videos,
)

VideoId = Annotated[str, Path(description="The id of a video.", examples=["video_019a5f2c1d3e4b5a6978c0de"])]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A repeated request with the same key finds the first one's job instead of making another.",
    ),
]


async def ask(
    service: Service, request: Request, files: Sequence[str], key: str | None, submit: Callable[[Asked], Answer]
) -> Answer:
    """Who asks, what they send, and the jobs that come of it; the slow part in threads of its own."""
    caller = await in_thread(service.caller, token_of(request), "generate", counted=True)
    with service.slot(caller):
        body = await read_body(request, files)
        handles = {name: upload.file for name, upload in body.files.items()}
        asked = Asked(service, caller, body.fields, handles, key)
        slow = bool(handles) or any(name in body.fields for name in REFERENCES)
        return await run_sync(submit, asked, limiter=service.slow if slow else None)


def told(answer: Answer) -> JSONResponse:
    return JSONResponse(videos(answer.jobs) if answer.estimate is None else answer.estimate)


def router(service: Service, listeners: Listeners) -> APIRouter:
    """The routes of the dialect."""
    routes = APIRouter(tags=["videos"])
    _add_submitting(routes, service)
    _add_waiting(routes, service, listeners)
    _add_reading(routes, service)
    _add_changing(routes, service)
    _add_events(routes, service, listeners)
    return routes


# ----------------------------------------------------------------------------------------------------------- submitting
def _add_submitting(routes: APIRouter, service: Service) -> None:
    made = {200: {"model": Videos | Estimate}, **refusals(*SENDING)}

    @routes.post(
        "/v1/videos", openapi_extra=takes(CreateVideo, tuple(REFERENCES)), responses=made, summary="Make clips"
    )
    async def create(request: Request, key: Key = None) -> Response:
        """Submits a clip, or several with ``n``; answers at once with the job. JSON or multipart/form-data."""
        return told(await ask(service, request, tuple(REFERENCES), key, submitting.create))

    @routes.post(
        "/v1/videos/extensions", openapi_extra=takes(Extend, ("video",)), responses=made, summary="Go on with a clip"
    )
    async def extensions(request: Request, key: Key = None) -> Response:
        """A clip that begins with another one, and goes on with the prompt for ``seconds`` more."""
        return told(await ask(service, request, ("video",), key, submitting.extend))

    @routes.post(
        "/v1/videos/edits", openapi_extra=takes(Edit, ("video",)), responses=made, summary="Give a film new sound"
    )
    async def edits(request: Request, key: Key = None) -> Response:
        """With ``generate_sound`` a film keeps its picture and is given a sound that fits the prompt."""
        return told(await ask(service, request, ("video",), key, submitting.edit))

    @routes.post(
        "/v1/videos/{video_id}/remix",
        openapi_extra=takes(Remix),
        responses=made,
        summary="The same with another prompt",
    )
    async def remix(video_id: VideoId, request: Request, key: Key = None) -> Response:
        """A new clip with all that the first one was asked with, seed included, but for the prompt."""
        return told(await ask(service, request, (), key, lambda asked: submitting.remix(asked, video_id)))

    @routes.post(
        "/v1/videos/{video_id}/render",
        openapi_extra=takes(Render, required=False),
        responses=made,
        summary="Render a preview",
    )
    async def render(video_id: VideoId, request: Request, key: Key = None) -> Response:
        """The clip in its larger size: the same composition, the same sound."""
        return told(await ask(service, request, (), key, lambda asked: submitting.render(asked, video_id)))


def _add_waiting(routes: APIRouter, service: Service, listeners: Listeners) -> None:
    film = {"content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}, "description": "The clip."}
    late = {504: {"model": ErrorBody, "description": "The clip is not made yet; it is, and can be fetched by its id."}}

    @routes.post(
        "/v1/videos/sync",
        openapi_extra=takes(CreateVideo, tuple(REFERENCES)),
        responses={200: film, **refusals(*SENDING, 422), **late},
        response_class=Response,
        summary="Make a clip and wait for it",
    )
    async def sync(request: Request, key: Key = None) -> Response:
        """Answers with the mp4 itself. If that takes too long, the job goes on and the answer names it."""
        answer = await ask(service, request, tuple(REFERENCES), key, _one_clip)
        caller = await in_thread(service.caller, token_of(request), "read")
        job = answer.jobs[0]
        with service.slot(caller):
            in_time = await listeners.finished(job.id, service.settings.sync_seconds)
        found = await in_thread(service.queue.get, job.id)
        if listeners.ending and not found.finished:
            message = f"the server stops; {job.id} is made when it is back, and can be fetched by its id"
            raise ServiceError(503, "stopping", message, None, 30)
        if not in_time:
            message = f"{job.id} is {found.status} after {service.settings.sync_seconds:g} s; fetch its content later"
            raise ServiceError(504, "timeout", message)
        if found.status != COMPLETED:
            error = found.error if found.status == FAILED and found.error else {}
            raise ServiceError(422, error.get("code", found.status), error.get("message", f"{job.id} was cancelled"))
        answer_headers = {"X-Video-Id": job.id}
        return await in_thread(content, service, found, "video", answer_headers)


def _one_clip(asked: Asked) -> Answer:
    for field, value in (("n", 1), ("dry_run", False)):
        if str(asked.fields.get(field) or value).lower() != str(value).lower():
            raise FieldError(field, f"a synchronous request makes one clip; leave out {field}")
    return submitting.create(asked)


# -------------------------------------------------------------------------------------------------------------- reading
def _add_reading(routes: APIRouter, service: Service) -> None:
    @routes.get("/v1/videos", responses={200: {"model": VideoList}, **refusals(*READING)}, summary="List videos")
    def list_videos(
        request: Request,
        after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: ListOrder = "desc",
        status: Annotated[str | None, Query(description=f"One of {', '.join(STATUSES)}.")] = None,
        group: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """Jobs, the newest first unless asked otherwise."""
        caller = _reader(service, request)
        if after is not None and not is_job_id(after):
            raise FieldError("after", f"after is {after[:40]!r}; it must be the id of a video")
        if status is not None and status not in STATUSES:
            raise FieldError("status", f"status is {status[:40]!r}; it must be one of {', '.join(STATUSES)}")
        page = service.queue.page(caller.sees, after=after, limit=limit, order=order, group=group, status=status)
        return JSONResponse(listing(page.jobs, page.more))

    @routes.get(
        "/v1/videos/{video_id}", responses={200: {"model": Video}, **refusals(*READING)}, summary="Look at a video"
    )
    def retrieve(video_id: VideoId, request: Request) -> Response:
        """A job: its status, its progress, and once it is completed how it was made."""
        caller = _reader(service, request)
        job = service.queue.get(video_id, caller.sees)
        again = {} if job.finished else {"openai-poll-after-ms": "1000"}
        return JSONResponse(video(job), headers=again)

    films = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}
    pictures = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    answers = {
        200: {"content": {**films, **pictures}, "description": "The file."},
        206: {"content": films, "description": "The part of it that Range asks for."},
        304: {"description": "The client has it."},
        416: {"description": "Range is outside of the file."},
    }

    @routes.get(
        "/v1/videos/{video_id}/content",
        responses={**answers, **refusals(*READING)},
        response_class=Response,
        summary="Download a clip",
    )
    def download(
        video_id: VideoId,
        request: Request,
        variant: Variant = "video",
        expires: Annotated[str | None, Query(description="Of a link that needs no key.")] = None,
        signature: Annotated[str | None, Query(description="Of such a link.")] = None,
    ) -> Response:
        """The mp4, its thumbnail, or a sheet of 16 frames. Parts of the mp4 may be asked for (Range)."""
        linked = service.link_holds(video_id, expires, signature)
        caller = Caller() if linked else _reader(service, request)
        job = service.queue.get(video_id, caller.sees)
        if job.result and request.headers.get("if-none-match") == tag(job, variant):
            return Response(status_code=304, headers={"ETag": tag(job, variant)})
        return content(service, job, variant)

    @routes.get(
        "/v1/models", responses={200: {"model": ModelList}, **refusals(401, 403, 429, 500)}, summary="List models"
    )
    def models(request: Request) -> Response:
        """What can be asked for: sizes, lengths and defaults of each model."""
        _reader(service, request)
        return JSONResponse({"object": "list", "data": [offer.describe() for offer in service.offers]})

    @routes.get(
        "/v1/webhooks/secret",
        responses={200: {"model": Secret}, **refusals(401, 403, 429, 500)},
        summary="The secret of webhooks",
    )
    def webhook_secret(request: Request) -> Response:
        """What the messages to your webhooks are signed with, as Standard Webhooks say."""
        caller = service.caller(token_of(request), "generate")
        return JSONResponse({"secret": service.webhook_secret(caller.owner)})


def _reader(service: Service, request: Request) -> Caller:
    return service.caller(token_of(request), "read")


# ------------------------------------------------------------------------------------------------------------- changing
def _add_changing(routes: APIRouter, service: Service) -> None:
    @routes.delete(
        "/v1/videos/{video_id}", responses={200: {"model": Deleted}, **refusals(*READING)}, summary="Delete a video"
    )
    def delete(video_id: VideoId, request: Request) -> Response:
        """Forgets a job, whatever its state, and its clip; a worker that is at it stops."""
        caller = service.caller(token_of(request), "delete", counted=True)
        service.queue.delete(video_id, caller.sees)
        return JSONResponse({"id": video_id, "object": "video.deleted", "deleted": True})

    @routes.post(
        "/v1/videos/{video_id}/cancel",
        openapi_extra=takes(Nothing, required=False),
        responses={200: {"model": Video}, **refusals(*READING, 413, 415)},
        summary="Cancel a video",
    )
    async def cancel(video_id: VideoId, request: Request) -> Response:
        """A waiting job is cancelled at once, a running one at its next step; a finished one stays as it is."""
        caller = await in_thread(service.caller, token_of(request), "generate", counted=True)
        parse(Nothing, (await read_body(request)).fields)
        return JSONResponse(video(await in_thread(service.queue.request_cancel, video_id, caller.sees)))


def _add_events(routes: APIRouter, service: Service, listeners: Listeners) -> None:
    """The stream of a job's events."""
    told_of = {
        200: {
            "content": {"text/event-stream": {"schema": EVENT}},
            "description": "Events: queued, started, progress, ..., completed, failed, cancelled; each has a number.",
        },
        204: {"description": "Everything was told; nothing more will happen."},
    }

    @routes.get(
        "/v1/videos/{video_id}/events",
        responses={**told_of, **refusals(*READING)},
        response_class=StreamingResponse,
        summary="Listen to a video",
        tags=["videos"],
    )
    async def events(
        video_id: VideoId,
        request: Request,
        last: Annotated[str | None, Header(alias="Last-Event-ID", description="Go on behind this event.")] = None,
    ) -> Response:
        """Server-sent events: every change of the job and every denoising step, until it is finished."""
        caller = await in_thread(_reader, service, request)
        job = await in_thread(service.queue.get, video_id, caller.sees)
        after = last_event(last)
        if job.finished and not await in_thread(service.queue.events_after, job.id, after):
            return Response(status_code=204)
        listeners.check()
        held = contextlib.ExitStack()
        held.enter_context(service.slot(caller))
        return _Held(held, stream(listeners, job.id, after))


class _Held(StreamingResponse):
    """An event stream, which counts as a running request of its key for as long as it lasts."""

    def __init__(self, held: contextlib.ExitStack, text: AsyncIterator[bytes]) -> None:
        super().__init__(text, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)
