"""Requests of the /v1/videos dialect, field by field. A field that is not here is refused by name, never ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from happyhorse.sampling.request import GUIDANCE_MAX, PROMPT_CHARACTERS_MAX, SEED_MAX, STEPS_MAX
from happyhorse.server.errors import FieldError
from happyhorse.server.targets import URL_MAX
from happyhorse.server.wishes import USER_MAX

EXAMPLE = {"prompt": "a red ball bounces on wood", "seconds": "2", "size": "128x128", "seed": 7}


Whole = int
Number = Annotated[float, Field(allow_inf_nan=False)]
Prompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=PROMPT_CHARACTERS_MAX),
    Field(description="What to see and hear."),
]
Seed = Annotated[Whole, Field(ge=0, le=SEED_MAX, description="The same seed gives the same clip; drawn if left out.")]
Steps = Annotated[Whole, Field(ge=1, le=STEPS_MAX, description="Denoising steps; the model's own if left out.")]
Count = Annotated[Whole, Field(ge=1, le=100, description="Clips to make, with seeds that follow each other.")]
Seconds = Annotated[Number, Field(gt=0, le=600)]
Guidance = Annotated[
    Number, Field(ge=0, le=GUIDANCE_MAX, description="Weight of the prompt; the model's own if left out.")
]
User = Annotated[str, Field(max_length=USER_MAX, description="Whom the client asks for; noted, never used.")]
WebhookUrl = Annotated[
    str,
    Field(max_length=URL_MAX, description="Told, signed, when the job has finished; its host must be allowed here."),
]


class Form(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """True is no number, although Python takes it for one."""
        if isinstance(value, bool):
            kind = cls.model_fields[info.field_name or ""].annotation
            if kind is not bool and bool not in get_args(kind):
                raise ValueError("it is neither true nor false")
        return value


class Reference(Form):
    """A medium by where it is: one of the fields. Files are sent as multipart/form-data instead."""

    image_url: str | None = Field(None, description="An http(s) or data: URL.")
    audio_url: str | None = None
    video_url: str | None = None
    url: str | None = None
    id: str | None = Field(None, description="A finished video of this server (for films only).")


Medium = Annotated[
    Reference | str, Field(description="A URL (https, data:) or an object that holds one; in multipart also a file.")
]


class CreateVideo(Form):
    """A clip to be made: ``prompt`` and, if wanted, how."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    prompt: Prompt
    model: str | None = Field(None, max_length=128, description="One of /v1/models; the first of them if left out.")
    seconds: Seconds | None = Field(None, description="Length of the clip, as a number or as its text.")
    size: str | None = Field(
        None, max_length=32, description='"WxH" of a preview or of a render, or an aspect: "1:1", "16:9", "9:16".'
    )
    negative_prompt: str | None = Field(None, max_length=PROMPT_CHARACTERS_MAX)
    seed: Seed | None = None
    n: Count | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    input_reference: Medium | None = Field(None, description="An image that becomes the first frame.")
    image_reference: Medium | None = Field(None, description="The same as input_reference.")
    last_image_reference: Medium | None = Field(None, description="An image that becomes the last frame.")
    audio_reference: Medium | None = Field(None, description="A sound to make the picture for.")
    video_reference: Medium | None = Field(None, description="A film to make the sound for.")
    loop: bool | None = Field(None, description="A clip whose end leads into its beginning.")
    fps: Whole | None = Field(None, description="Frames a second; those of the model are the only choice.")
    num_frames: Whole | None = Field(None, ge=1, le=20_000, description="Length in frames, instead of seconds.")
    width: Whole | None = Field(None, ge=1, le=99_999, description="With height, instead of size.")
    height: Whole | None = Field(None, ge=1, le=99_999)
    generate_sound: bool | None = Field(
        None, description="true is the only choice: picture and sound are made together."
    )
    user: User | None = None
    webhook_url: WebhookUrl | None = None
    dry_run: bool | None = Field(None, description="Only say what it would take.")


class Remix(Form):
    """The same clip with another prompt."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"prompt": "a blue ball bounces on wood"}})

    prompt: Prompt
    seed: Seed | None = Field(None, description="That of the first clip if left out.")
    n: Count | None = None
    user: User | None = None
    webhook_url: WebhookUrl | None = None


class Render(Form):
    """A preview in its larger size."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})

    size: str | None = Field(
        None, max_length=32, description='One of the render_options of the model, or "WxH"; the first if left out.'
    )
    seed: Seed | None = Field(None, description="That of the preview if left out.")
    num_inference_steps: Steps | None = None
    user: User | None = None
    webhook_url: WebhookUrl | None = None
    dry_run: bool | None = None


class Source(Form):
    """A finished video of this server."""

    id: str = Field(max_length=64)


class Extend(Form):
    """A clip that goes on."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"video": {"id": "video_" + "0" * 24}, "prompt": "the ball rolls away", "seconds": "2"}
        },
    )

    video: Source | None = Field(None, description="The clip; in multipart also a file.")
    prompt: Prompt
    seconds: Seconds | None = Field(None, description="What is added.")
    model: str | None = Field(None, max_length=128)
    seed: Seed | None = None
    negative_prompt: str | None = Field(None, max_length=PROMPT_CHARACTERS_MAX)
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    user: User | None = None
    webhook_url: WebhookUrl | None = None
    dry_run: bool | None = None


class Edit(Form):
    """New sound for a film. Its picture is kept: this server's models change no pictures."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "video": {"id": "video_" + "0" * 24},
                "prompt": "a ball bounces on wood",
                "generate_sound": True,
            }
        },
    )

    video: Source | None = Field(None, description="The film; in multipart also a file.")
    prompt: Prompt
    generate_sound: bool | None = Field(None, description="true: the film is given a new sound.")
    model: str | None = Field(None, max_length=128)
    seed: Seed | None = None
    num_inference_steps: Steps | None = None
    user: User | None = None
    webhook_url: WebhookUrl | None = None
    dry_run: bool | None = None


class Nothing(Form):
    """No field is known."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {}})


WAYS_OUT = {"prompt": f"; say in 1 to {PROMPT_CHARACTERS_MAX} characters what should be seen and heard"}
"""What is added where a field holds nothing."""
ListOrder = Literal["asc", "desc"]
Variant = Literal["video", "thumbnail", "spritesheet"]

F = TypeVar("F", bound=BaseModel)


def parse(form: type[F], fields: Mapping[str, Any]) -> F:
    """The fields as a form. Raises FieldError that names the first one that is wrong, and its limit."""
    try:
        return form.model_validate(dict(fields))
    except ValidationError as error:
        raise _field_error(form, error) from None


def _field_error(form: type[BaseModel], error: ValidationError) -> FieldError:
    # Of a field with alternatives, the last complaint is about the form that was most likely meant.
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"] if part not in ("Reference", "str")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        known = ", ".join(form.model_fields) if len(place) == 1 else "others"
        return FieldError(name, f"the field {name[:80]!r} is not supported; fields are {known}", "unknown_field")
    way_out = WAYS_OUT.get(name, "")
    if first["type"] == "missing":
        return FieldError(name, f"{name} is missing{way_out}", "missing_field")
    if first["type"] == "string_too_short":
        return FieldError(name, f"{name} is empty{way_out}")
    if first["type"] == "string_too_long":
        length, most = len(first["input"]), (first.get("ctx") or {})["max_length"]
        return FieldError(name, f"{name} has {length} characters; the limit is {most}")
    shown = repr(first["input"])
    shown = shown if len(shown) <= 60 else f"{shown[:60]}..."
    return FieldError(name or None, f"{name or 'the body'} is {shown}: {words(first['msg'])}")


def words(message: str) -> str:
    """Pydantic's sentence in our words."""
    message = message.removeprefix("Value error, ").replace("Input should", "it should").replace("String", "it")
    return message[:1].lower() + message[1:]
