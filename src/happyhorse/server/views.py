"""How a job is told of in the /v1/videos dialect, and the shapes of all answers for the OpenAPI page."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from happyhorse.server.progress import stage_parts
from happyhorse.server.records import COMPLETED, IN_PROGRESS, Event, Job

Status = Literal["queued", "in_progress", "completed", "failed", "cancelled"]


class VideoError(BaseModel):
    code: str
    message: str


class Video(BaseModel):
    """A job and, once it is completed, its clip."""

    id: str = Field(examples=["video_019a5f2c1d3e4b5a6978c0de"])
    object: Literal["video"] = "video"
    kind: Literal["generate", "render", "extend"]
    model: str
    status: Status
    progress: int = Field(description="0 to 100, by the denoising steps.", ge=0, le=100)
    stage: str | None = Field(description='What is being done, such as "denoise".')
    step: int | None = Field(description="Steps of the stage that are done.")
    steps: int | None = Field(description="Steps of the stage.")
    created_at: int = Field(description="Seconds since 1970.")
    started_at: int | None
    completed_at: int | None
    expires_at: int | None
    prompt: str
    negative_prompt: str | None
    size: str = Field(examples=["128x128"])
    seconds: str = Field(examples=["5"])
    seed: int
    remixed_from_video_id: str | None
    group: str | None = Field(description="Shared by the clips of one request.")
    error: VideoError | None
    inference_time_s: float | None
    stage_durations: dict[str, float] | None = Field(description="Seconds spent in each stage.")
    peak_memory_mb: float | None
    file_name: str | None
    media_type: str | None
    bytes: int | None
    recipe: dict[str, Any] | None = Field(description="What makes the same clip again.")
    notes: list[str] = Field(description="What was asked for in vain, or done to make it fit.")
    user: str | None


class Videos(Video):
    """The first of the clips that were asked for, and all of them."""

    data: list[Video] | None = Field(None, description="All clips, where n was more than 1.")


class VideoList(BaseModel):
    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class Estimate(BaseModel):
    """What a request would take; nothing was submitted."""

    object: Literal["video.estimate"] = "video.estimate"
    model: str
    n: int
    size: str
    seconds: str
    seed: int
    num_inference_steps: int
    inference_time_s: float = Field(description="Expected seconds of work for all clips.")
    queue_time_s: float = Field(description="Expected seconds until a worker takes it.")
    peak_memory_mb: float = Field(description="Expected MiB of a worker.")
    measured: bool = Field(description="Whether the times rest on clips that this server has made.")
    notes: list[str]


class SizeLimits(BaseModel):
    """Any size within these can be made."""

    multiple_of: int = Field(description="What width and height are cut to.")
    side_min: int
    preview_pixels_max: int
    render_pixels_max: int | None = Field(description="null where nothing is rendered.")


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    sizes: list[str] = Field(description="Sizes of previews, the default first.")
    render_sizes: list[str] = Field(description="Sizes of renders.")
    render_options: list[str] = Field(description="Names of renders, where a preview can be rendered to several sizes.")
    size_limits: SizeLimits | None = Field(description="null: the sizes above are the only ones.")
    renders: bool
    aspects: list[str]
    takes: list[str] = Field(description="What a clip can be made with beside a prompt.")
    seconds: float = Field(description="Length of a clip unless asked otherwise.")
    seconds_min: float
    seconds_max: float
    steps: int
    guidance: list[float]
    fps: int
    weights: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class ErrorFacts(BaseModel):
    message: str = Field(description="What is wrong, and the way out.")
    type: str
    param: str | None = Field(description="The field that it is about.")
    code: str | None


class ErrorBody(BaseModel):
    error: ErrorFacts


class Secret(BaseModel):
    """What the messages to your webhooks are signed with (Standard Webhooks)."""

    secret: str


def video(job: Job) -> dict[str, Any]:
    """A job as JSON: fields of ``Video``."""
    order, result = job.request, job.result or {}
    stage, step, steps = stage_parts(job.stage) if job.status == IN_PROGRESS else (None, None, None)
    done = job.status == COMPLETED
    return {
        "id": job.id,
        "object": "video",
        "kind": job.kind,
        "model": job.model,
        "status": job.status,
        "progress": 100 if done else min(99, int(job.progress)),
        "stage": stage,
        "step": step,
        "steps": steps,
        "created_at": int(job.created_at),
        "started_at": _whole(job.started_at),
        "completed_at": _whole(job.completed_at),
        "expires_at": _whole(job.expires_at),
        "prompt": order["prompt"],
        "negative_prompt": order.get("negative_prompt") or None,
        "size": result.get("size") or order["size"],
        "seconds": seconds_text(result.get("seconds") or order["seconds"]),
        "seed": order["seed"],
        "remixed_from_video_id": job.remixed_from,
        "group": job.group,
        "error": _error(job),
        "inference_time_s": result.get("inference_seconds"),
        "stage_durations": result.get("timings"),
        "peak_memory_mb": result.get("peak_memory_mb"),
        "file_name": f"{job.id}.mp4" if done else None,
        "media_type": result.get("media_type"),
        "bytes": result.get("bytes"),
        "recipe": result.get("recipe"),
        "notes": list(result.get("notes") or order.get("notes") or ()),
        "user": order.get("user"),
    }


def videos(jobs: list[Job]) -> dict[str, Any]:
    """The answer to a request for one clip or several."""
    first = video(jobs[0])
    return first if len(jobs) == 1 else {**first, "data": [video(job) for job in jobs]}


def listing(jobs: tuple[Job, ...], more: bool) -> dict[str, Any]:
    ends = (jobs[0].id, jobs[-1].id) if jobs else (None, None)
    shown = [video(job) for job in jobs]
    return {"object": "list", "data": shown, "first_id": ends[0], "last_id": ends[1], "has_more": more}


def happening(event: Event) -> dict[str, Any]:
    """A change of a job, as told to those who listen."""
    stage, step, steps = stage_parts(event.data.get("stage") or "")
    return {
        "id": event.job,
        "object": "video.event",
        "kind": event.kind,
        "status": event.data["status"],
        "progress": round(event.data["progress"], 1),
        "stage": stage,
        "step": step,
        "steps": steps,
        "attempt": event.data["attempt"],
        "time": round(event.time, 3),
        "error": event.data.get("error"),
    }


def seconds_text(seconds: float) -> str:
    """ "5", "0.5", "3.042"."""
    return f"{round(seconds, 3):g}"


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)


def _error(job: Job) -> dict[str, str] | None:
    if not job.error or job.status != "failed":
        return None
    return {"code": str(job.error["code"]), "message": str(job.error["message"])}
