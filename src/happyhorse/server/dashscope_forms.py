"""Requests and answers of HappyHorse's own dialect, and what each of the hosted models takes."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from happyhorse.server.forms import Form, Seed, Whole


@dataclasses.dataclass(frozen=True)
class Mode:
    """What a hosted model takes."""

    media: dict[str, tuple[int, int]]
    """How many of each type, at least and at most."""
    ratio: bool = True
    audio_setting: bool = False
    refusal: str = ""
    """Why models here cannot do it."""


_T2V = Mode({})
_I2V = Mode({"first_frame": (1, 1)}, ratio=False)
_R2V = Mode({"reference_image": (1, 9)}, refusal="makes no clips from reference images; give a first_frame (i2v)")
_EDIT = Mode(
    {"video": (1, 1), "reference_image": (0, 5)},
    ratio=False,
    audio_setting=True,
    refusal="changes no pictures; POST /v1/videos/edits with generate_sound gives a film new sound",
)
MODES = {
    **{
        f"happyhorse-{version}-{name}": mode
        for version in ("1.0", "1.1")
        for name, mode in (("t2v", _T2V), ("i2v", _I2V), ("r2v", _R2V))
    },
    "happyhorse-1.0-video-edit": _EDIT,
}


class Media(Form):
    type: Literal["first_frame", "reference_image", "video"]
    url: str = Field(min_length=1, description="https:, where this server may fetch from it, or data:.")


class Input(Form):
    prompt: str | None = None
    media: list[Media] = Field(default_factory=list, max_length=16)


class Parameters(Form):
    resolution: Literal["480P", "720P", "1080P"] = "1080P"
    ratio: Literal["16:9", "9:16", "1:1", "4:3", "3:4", "4:5", "5:4", "9:21", "21:9"] | None = None
    duration: Annotated[Whole, Field(ge=3, le=15)] = 5
    watermark: bool = False
    seed: Seed | None = None
    audio_setting: Literal["auto", "origin"] | None = None


class Synthesis(Form):
    """A clip to be made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "model": "happyhorse-1.1-t2v",
                "input": {"prompt": "a red ball bounces on wood"},
                "parameters": {"resolution": "480P", "ratio": "16:9", "duration": 3, "seed": 7},
            }
        },
    )

    model: str = Field(max_length=128, description=f"One of {', '.join(MODES)}.")
    input: Input
    parameters: Parameters = Field(default_factory=Parameters)


class TaskOutput(BaseModel):
    task_id: str
    task_status: Literal["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"]
    submit_time: str | None = None
    scheduled_time: str | None = None
    end_time: str | None = None
    orig_prompt: str | None = None
    video_url: str | None = None
    code: str | None = None
    message: str | None = None
    model: str | None = Field(None, description="The model that really makes it.")
    size: str | None = Field(None, description="The size that is really made.")
    notes: list[str] | None = None


class Usage(BaseModel):
    duration: float
    output_video_duration: float
    video_count: int
    SR: int
    ratio: str


class Task(BaseModel):
    request_id: str
    output: TaskOutput
    usage: Usage | None = None


class Done(BaseModel):
    request_id: str


class Refusal(BaseModel):
    code: str
    message: str
    request_id: str
