"""HappyHorse's own dialect (DashScope), so that its clients work against this server: tasks that are asked for by name.

The hosted models' names stand for the model that is the default here; what was really made is said in every answer.
Prompts that are too long are refused, which the hosted service cuts without a word.
"""

from __future__ import annotations

import dataclasses
import math
import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import WithJsonSchema

from happyhorse.server.bodies import read_body
from happyhorse.server.dashscope_forms import MODES, Done, Mode, Refusal, Synthesis, Task
from happyhorse.server.documents import takes
from happyhorse.server.errors import FieldError, ServiceError, unknown_model
from happyhorse.server.forms import parse
from happyhorse.server.offers import Offer
from happyhorse.server.orders import Medium
from happyhorse.server.records import COMPLETED, FAILED, Job, JobNotFoundError
from happyhorse.server.service import Service, in_thread, token_of
from happyhorse.server.submitting import Answer, Asked, submit
from happyhorse.server.views import seconds_text
from happyhorse.server.wishes import Wish, orders

DIALECT = "dashscope"
PREFIX = "/api/v1/"
PROMPT_WEIGHT_MAX = 5000
"""Characters; Chinese ones count twice."""
STATES = {
    "queued": "PENDING",
    "in_progress": "RUNNING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "cancelled": "CANCELED",
}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal, "description": "Refused, with a code and a sentence."} for status in statuses}


Async = Annotated[
    str | None,
    Header(alias="X-DashScope-Async", description="Must be there."),
    WithJsonSchema({"type": "string", "enum": ["enable"]}),
]
TaskId = Annotated[str, Path(description="A task_id.", examples=["video_019a5f2c1d3e4b5a6978c0de"])]
_READING = (400, 401, 403, 429, 500, 503)


def router(service: Service) -> APIRouter:
    """The routes of the dialect."""
    routes = APIRouter(prefix="/api/v1", tags=["HappyHorse's own dialect"])

    @routes.post(
        "/services/aigc/video-generation/video-synthesis",
        openapi_extra=takes(Synthesis),
        responses={200: {"model": Task}, **_refusals(*_READING, 404, 409, 413, 415)},
        summary="Make a clip",
    )
    async def synthesise(
        request: Request,
        asynchronous: Async = None,
        key: Annotated[str | None, Header(alias="Idempotency-Key")] = None,
    ) -> Response:
        """Submits a task; ask for it by its id."""
        caller = await in_thread(service.caller, token_of(request), "generate", counted=True)
        if (asynchronous or "").lower() != "enable":
            message = "current user api does not support synchronous calls; send X-DashScope-Async: enable"
            raise FieldError("X-DashScope-Async", message)
        with service.slot(caller):
            body = await read_body(request)
            asked = Asked(service, caller, body.fields, {}, key)
            answer = await run_sync(make, asked, limiter=service.slow)
        output = {"task_status": STATES[answer.jobs[0].status], "task_id": answer.jobs[0].id}
        return JSONResponse({"output": output, "request_id": _request_id(request)})

    @routes.get("/tasks/{task_id}", responses={200: {"model": Task}, **_refusals(*_READING)}, summary="Look at a task")
    def look(task_id: TaskId, request: Request) -> Response:
        """A task; UNKNOWN if there is none of that id."""
        caller = service.caller(token_of(request), "read")
        try:
            job = service.queue.get(task_id, caller.sees)
        except JobNotFoundError:
            output = {"task_id": task_id, "task_status": "UNKNOWN"}
            return JSONResponse({"request_id": _request_id(request), "output": output})
        url = f"{str(request.base_url).rstrip('/')}/v1/videos/{job.id}/content?{service.link(job.id)}"
        return JSONResponse({"request_id": _request_id(request), **task(job, url)})

    @routes.post(
        "/tasks/{task_id}/cancel",
        responses={200: {"model": Done}, **_refusals(*_READING, 404)},
        summary="Cancel a task",
    )
    def cancel(task_id: TaskId, request: Request) -> Response:
        """Only while it is PENDING."""
        caller = service.caller(token_of(request), "generate", counted=True)
        job = service.queue.get(task_id, caller.sees)
        if STATES[job.status] != "PENDING":
            message = f"the task is {STATES[job.status]}; only a PENDING one can be cancelled in this dialect"
            raise ServiceError(400, "UnsupportedOperation", message)
        service.queue.request_cancel(task_id, caller.sees)
        return JSONResponse({"request_id": _request_id(request)})

    return routes


def _request_id(request: Request) -> str:
    return request.scope["state"]["request_id"]


# ---------------------------------------------------------------------------------------------------- what is asked for
def make(asked: Asked) -> Answer:
    """From a request's body to its job."""
    form = parse(Synthesis, asked.fields)
    if form.model not in MODES:
        raise unknown_model(form.model, list(MODES))
    offer = asked.service.offers.default
    wish, notes = read(form, offer, asked)
    made = [dataclasses.replace(order, notes=(*order.notes, *notes)) for order in orders(wish, offer)]
    return submit(asked, offer, made, kind="generate", dialect=DIALECT)


def read(form: Synthesis, offer: Offer, asked: Asked) -> tuple[Wish, list[str]]:
    """The wish in a request, and what is made of it otherwise than it says."""
    mode, parameters = MODES[form.model], form.parameters
    _check(form, mode, offer)
    seconds, (low, high) = parameters.duration, offer.seconds_range
    if not low <= seconds <= high:
        raise FieldError("parameters.duration", f"duration is {seconds}; {offer.name} makes {low:g} to {high:g} s")
    media = dict[str, Medium]()
    for number, medium in enumerate(form.input.media):
        media["image"] = asked.intake.url(f"input.media[{number}].url", "image", medium.url)
    across, down = (parameters.ratio or "16:9").split(":")
    aspect = (media["image"].aspect if media else None) or int(across) / int(down)
    size = offer.hosted(parameters.resolution, aspect)
    wish = Wish(form.input.prompt or "", size=size, seconds=seconds, seed=parameters.seed, media=media)
    asked_for = parameters.resolution if media else f"{parameters.resolution} {parameters.ratio or '16:9'}"
    return wish, [f"{form.model} {asked_for} is made by {offer.name} as {size.name}"]


def _check(form: Synthesis, mode: Mode, offer: Offer) -> None:
    """What the hosted model would refuse, and what ours cannot do."""
    if mode.refusal:
        raise FieldError("model", f"{form.model}: {offer.name} {mode.refusal}", "not_supported")
    _check_prompt(form)
    parameters = form.parameters
    if parameters.ratio is not None and not mode.ratio:
        raise FieldError("parameters.ratio", f"{form.model} takes no ratio; the clip follows the image")
    if parameters.audio_setting is not None and not mode.audio_setting:
        raise FieldError("parameters.audio_setting", f"{form.model} takes no audio_setting")
    if parameters.watermark:
        raise FieldError("parameters.watermark", "watermark is true; this server writes none: leave it out")
    for kind in {medium.type for medium in form.input.media} | set(mode.media):
        least, most = mode.media.get(kind, (0, 0))
        count = sum(medium.type == kind for medium in form.input.media)
        if not least <= count <= most:
            wanted = f"exactly {most}" if least == most else f"{least} to {most}"
            raise FieldError("input.media", f"{form.model} takes {wanted} {kind} in input.media; got {count}")


def _check_prompt(form: Synthesis) -> None:
    prompt = form.input.prompt
    if not prompt or not prompt.strip():
        raise FieldError("input.prompt", "input.prompt is missing; say what should be seen and heard", "missing_field")
    weight = sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in prompt)
    if weight > PROMPT_WEIGHT_MAX:
        raise FieldError(
            "input.prompt",
            f"input.prompt has {len(prompt)} characters; the limit is {PROMPT_WEIGHT_MAX}, or "
            f"{PROMPT_WEIGHT_MAX // 2} Chinese ones",
        )


# --------------------------------------------------------------------------------------------------------- what is told
def task(job: Job, url: str) -> dict[str, Any]:
    """A job as a task: output and, once there is a clip, usage."""
    result = job.result or {}
    size = result.get("size") or job.request["size"]
    output = {
        "task_id": job.id,
        "task_status": STATES[job.status],
        "submit_time": _time(job.created_at),
        "scheduled_time": _time(job.started_at),
        "end_time": _time(job.completed_at),
        "orig_prompt": job.request["prompt"],
        "model": job.model,
        "size": size,
        "notes": list(job.request.get("notes") or ()),
    }
    output = {name: value for name, value in output.items() if value is not None}
    if job.status == FAILED and job.error:
        return {"output": {**output, "code": job.error["code"], "message": job.error["message"]}}
    if job.status != COMPLETED:
        return {"output": output}
    width, height = map(int, size.split("x"))
    common = math.gcd(width, height)
    usage = {
        "duration": float(seconds_text(result["seconds"])),
        "output_video_duration": float(seconds_text(result["seconds"])),
        "video_count": 1,
        "SR": min(width, height),
        "ratio": f"{width // common}:{height // common}",
    }
    return {"output": {**output, "video_url": url}, "usage": usage}


def _time(seconds: float | None) -> str | None:
    """ "2026-11-25 18:00:00.123", UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
