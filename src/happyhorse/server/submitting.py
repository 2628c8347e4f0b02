"""From what a client asks to jobs in the queue: the way that both dialects share, and the /v1/videos dialect's part."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from happyhorse.server.bodies import sent
from happyhorse.server.errors import FieldError, ServiceError, naming
from happyhorse.server.estimates import estimate
from happyhorse.server.forms import CreateVideo, Edit, Extend, Reference, Remix, Render, parse
from happyhorse.server.intake import Intake, reference_url
from happyhorse.server.offers import Offer
from happyhorse.server.orders import Medium, Order, RenderOrder, read_order
from happyhorse.server.records import COMPLETED, QUEUED, Job, Submission, Webhook
from happyhorse.server.service import Caller, Service, new_group
from happyhorse.server.targets import target_of
from happyhorse.server.wishes import Wish, checked_seed, in_a_row, not_taken, orders, render_order, reworded

REFERENCES = {
    "input_reference": ("image", "image"),
    "image_reference": ("image", "image"),
    "last_image_reference": ("last_image", "image"),
    "audio_reference": ("audio", "audio"),
    "video_reference": ("video", "video"),
}
"""Fields that hold media: what of a wish they are, and what kind of file."""
KEY_MAX = 200


@dataclasses.dataclass(frozen=True)
class Asked:
    """A request as it came, once its body is read."""

    service: Service
    caller: Caller
    fields: Mapping[str, Any]
    files: Mapping[str, BinaryIO]
    key: str | None = None
    """Idempotency-Key."""

    @property
    def intake(self) -> Intake:
        return Intake(self.service, self.caller)


@dataclasses.dataclass(frozen=True)
class Answer:
    """Jobs that were submitted, or what they would take."""

    jobs: list[Job]
    estimate: dict[str, Any] | None = None


# ---------------------------------------------------------------------------------------------------- for both dialects
def submit(
    asked: Asked,
    offer: Offer,
    made: Sequence[Order | RenderOrder],
    *,
    kind: str,
    webhook_url: str | None = None,
    source: str | None = None,
    media: Mapping[str, str] | None = None,
    dialect: str = "videos",
    dry_run: bool | None = False,
) -> Answer:
    """Puts orders into the queue, all or none. ``source``: the job that they build on; ``media``: hashes of what was
    sent with the request, by field. Raises ServiceError 429 if the queue is full."""
    webhook = _webhook(asked, webhook_url)
    if dry_run:
        return Answer([], estimate(asked.service, offer, made))
    _check_room(asked.service, len(made))
    key = checked_key(asked.key)
    fields = {name: value for name, value in asked.fields.items() if name != "dry_run"}
    said = hashlib.sha256(sent([dialect, kind, source, fields], dict(media or {})).encode()).hexdigest()
    group = new_group() if len(made) > 1 else None
    submissions = [
        Submission(
            kind=kind,
            model=offer.name,
            request=order.to_json(),
            owner=asked.caller.owner,
            attempts_max=asked.service.settings.attempts,
            remixed_from=source,
            idempotency_key=key and (key if number == 0 else f"{key}\x1f{number}"),
            fingerprint=said,
            webhook=webhook,
            group=group,
            dialect=dialect,
        )
        for number, order in enumerate(made)
    ]
    return Answer(asked.service.queue.submit_all(submissions))


def checked_key(key: str | None) -> str | None:
    if key is not None and not (1 <= len(key) <= KEY_MAX and key.isprintable()):
        raise FieldError("Idempotency-Key", f"Idempotency-Key has {len(key)} characters; it may have 1 to {KEY_MAX}")
    return key


def _webhook(asked: Asked, url: str | None) -> Webhook | None:
    if url is None:
        return None
    with naming("webhook_url"):
        target_of(url, asked.service.settings.delivering)
    return Webhook(url, asked.caller.owner)


def _check_room(service: Service, count: int) -> None:
    most = service.settings.queue_max
    if service.waiting() + count > most:
        raise ServiceError(
            429, "queue_full", f"{most} jobs wait already, which is the limit; try again later", None, 30
        )


# ----------------------------------------------------------------------------------------------------------- one by one
def create(asked: Asked) -> Answer:
    """POST /v1/videos"""
    form = parse(CreateVideo, asked.fields)
    offer = asked.service.offers.find(form.model)
    size, seconds = _size(form), _seconds(form, offer)
    media, hashes = take_references(asked, form, offer)
    wish = Wish(
        prompt=form.prompt,
        negative_prompt=form.negative_prompt or "",
        size=size,
        seconds=seconds,
        seed=form.seed,
        steps=form.num_inference_steps,
        guidance=form.guidance_scale,
        count=1 if form.n is None else form.n,
        loop=bool(form.loop),
        media=media,
        user=form.user,
    )
    made = orders(wish, offer, asked.service.settings.previews_max)
    return submit(asked, offer, made, kind="generate", webhook_url=form.webhook_url, media=hashes, dry_run=form.dry_run)


def _size(form: CreateVideo) -> str | None:
    if form.width is None and form.height is None:
        return form.size
    if form.width is None or form.height is None:
        missing = "width" if form.width is None else "height"
        raise FieldError(missing, f"{missing} is missing; width and height go together", "missing_field")
    found = f"{form.width}x{form.height}"
    if form.size is not None and form.size.lower() != found:
        raise FieldError("size", f"size is {form.size[:32]!r}, width and height say {found}; give one of them")
    return found


def _seconds(form: CreateVideo, offer: Offer) -> float | None:
    if form.fps is not None and form.fps != offer.fps:
        raise FieldError("fps", f"fps is {form.fps}; clips of {offer.name} have {offer.fps} frames a second")
    if form.generate_sound is False:
        raise FieldError("generate_sound", "generate_sound is false; picture and sound are made together: leave it out")
    if form.num_frames is None:
        return form.seconds
    if form.seconds is not None:
        raise FieldError("num_frames", "num_frames and seconds both say how long the clip is; give one of them")
    return form.num_frames / offer.fps


def take_references(asked: Asked, form: CreateVideo, offer: Offer) -> tuple[dict[str, Medium], dict[str, str]]:
    """The media of a request by what they are in a wish, and the hashes of sent files by field.

    What the model has nothing for is refused before it is fetched or decoded.
    """
    media, hashes = dict[str, Medium](), dict[str, str]()
    for field, (name, kind) in REFERENCES.items():
        reference, file = getattr(form, field), asked.files.get(field)
        if reference is None and file is None:
            continue
        if name not in offer.takes:
            raise not_taken(field, offer)
        if name in media or (reference is not None and file is not None):
            raise FieldError(field, f"{field}: the {name.replace('_', ' ')} was given already; give it once")
        if file is not None:
            media[name] = asked.intake.file(field, kind, file)
            hashes[field] = media[name].blob
        elif kind == "video" and isinstance(reference, Reference) and reference.id is not None:
            _, media[name] = asked.intake.clip(field, reference.id)
        else:
            media[name] = asked.intake.url(field, kind, reference_url(field, reference))
    return media, hashes


def remix(asked: Asked, job: str) -> Answer:
    """POST /v1/videos/{id}/remix: the same order with another prompt, once or with ``n`` seeds in a row."""
    form = parse(Remix, asked.fields)
    source = asked.service.queue.get(job, asked.caller.sees)
    if source.kind == "render":
        raise FieldError(None, f"{job} is a render; remix its preview, {source.request['source']}", "not_remixable")
    offer = asked.service.offers.find(source.model)
    order = read_order(source.kind, source.request)
    assert isinstance(order, Order)
    count, most = 1 if form.n is None else form.n, asked.service.settings.previews_max
    seed = checked_seed(order.seed if form.seed is None else form.seed, count, most)
    made = in_a_row(reworded(order, offer, form.prompt, seed, form.user), count)
    return submit(asked, offer, made, kind=source.kind, webhook_url=form.webhook_url, source=job)


def render(asked: Asked, job: str) -> Answer:
    """POST /v1/videos/{id}/render: a preview in its larger size."""
    form = parse(Render, asked.fields)
    source = asked.service.queue.get(job, asked.caller.sees)
    if source.status != COMPLETED or not source.result:
        wait = "wait until it is completed" if source.status in (QUEUED, "in_progress") else "make it again first"
        raise ServiceError(409, "not_completed", f"{job} is {source.status}; {wait}")
    offer = asked.service.offers.find(source.model)
    order = render_order(source.request, source.result, job, offer, form)
    return submit(asked, offer, [order], kind="render", webhook_url=form.webhook_url, source=job, dry_run=form.dry_run)


def extend(asked: Asked) -> Answer:
    """POST /v1/videos/extensions: a clip that goes on."""
    form = parse(Extend, asked.fields)
    clip = _clip(asked, form)
    offer = asked.service.offers.find(form.model or (clip.job.model if clip.job else None))
    wish = Wish(
        prompt=form.prompt,
        negative_prompt=form.negative_prompt or "",
        seconds=form.seconds,
        seed=form.seed,
        steps=form.num_inference_steps,
        guidance=form.guidance_scale,
        start=clip.medium,
        user=form.user,
    )
    return _build_on(asked, form, clip, offer, wish, "extend")


def edit(asked: Asked) -> Answer:
    """POST /v1/videos/edits: new sound for a film; nothing else can be edited."""
    form = parse(Edit, asked.fields)
    offer = asked.service.offers.find(form.model)
    if not form.generate_sound:
        raise FieldError(
            "generate_sound",
            f"{offer.name} cannot change the picture of a film; with generate_sound true it is given a new sound that "
            "fits the prompt",
            "not_supported",
        )
    if "video" not in offer.takes:
        raise not_taken("video", offer)
    clip = _clip(asked, form)
    wish = Wish(
        prompt=form.prompt, seed=form.seed, steps=form.num_inference_steps, media={"video": clip.medium}, user=form.user
    )
    return _build_on(asked, form, clip, offer, wish, "generate")


@dataclasses.dataclass(frozen=True)
class _Clip:
    """What a request builds on."""

    job: Job | None
    """That made it, if it is one of ours."""
    medium: Medium
    hashes: dict[str, str] = dataclasses.field(default_factory=dict)
    """Of the file, if it was sent."""


def _build_on(asked: Asked, form: Extend | Edit, clip: _Clip, offer: Offer, wish: Wish, kind: str) -> Answer:
    return submit(
        asked,
        offer,
        orders(wish, offer),
        kind=kind,
        webhook_url=form.webhook_url,
        source=clip.job.id if clip.job else None,
        media=clip.hashes,
        dry_run=form.dry_run,
    )


def _clip(asked: Asked, form: Extend | Edit) -> _Clip:
    """The clip that a request builds on."""
    file = asked.files.get("video")
    if (form.video is None) == (file is None):
        given = "given twice" if file else "missing"
        raise FieldError("video", f'video is {given}; give {{"id": "video_..."}} or a file', "missing_field")
    if form.video is not None:
        return _Clip(*asked.intake.clip("video", form.video.id))
    assert file is not None
    medium = asked.intake.file("video", "video", file)
    return _Clip(None, medium, {"video": medium.blob})
