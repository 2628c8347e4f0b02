"""What is asked for, whichever dialect it came in: checked and completed into the orders that workers carry out.

A ``Wish`` is what somebody said. ``orders`` fills its gaps from the model's own defaults, draws the seed and refuses,
with the field and its limit, what cannot be made; an ``Order`` is complete, JSON, and all that a worker needs.
"""

from __future__ import annotations

import dataclasses
import functools
import secrets
from collections.abc import Mapping
from typing import Any

from happyhorse.codecs.text import Tokenizer
from happyhorse.errors import ConfigError, PromptError, SizeError
from happyhorse.sampling.extend import SECONDS_MAX as EXTENDED_MAX
from happyhorse.sampling.given import FPS, SLACK
from happyhorse.sampling.loop import parts
from happyhorse.sampling.public_request import cut_note
from happyhorse.sampling.published import snapped
from happyhorse.sampling.request import SEED_MAX, Request, check_seconds, checked_prompt, checked_whole, make_request
from happyhorse.server.errors import FieldError, naming
from happyhorse.server.offers import ModelOffer, Offer, PublicOffer
from happyhorse.server.orders import Medium, Order, RenderOrder
from happyhorse.server.public_wishes import check_public_texts, prompt_notes, public_order
from happyhorse.server.sizes import Size, size_name
from happyhorse.types import ClipShape

USER_MAX = 256
MEDIA = ("image", "last_image", "audio", "video")
"""What a clip can be made around, as in ``sampling.given.Given``."""
ASKED_AS = {
    "image": "input_reference",
    "last_image": "last_image_reference",
    "audio": "audio_reference",
    "video": "video_reference",
    "start": "video",
    "loop": "loop",
    "guidance": "guidance_scale",
}
"""Fields of what not every model takes (see ``Offer.takes``)."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is asked for; None where nothing was said."""

    prompt: str
    negative_prompt: str = ""
    size: str | Size | None = None
    """ "WxH" of a preview or of a render, or an aspect such as "16:9"; or how it is to be made."""
    seconds: float | None = None
    """Length of the clip; when one goes on, of what is added."""
    seed: int | None = None
    steps: int | None = None
    guidance: float | tuple[float, float] | None = None
    count: int = 1
    """Clips, with seeds that follow each other."""
    loop: bool = False
    media: Mapping[str, Medium] = dataclasses.field(default_factory=dict)
    """By the names in MEDIA."""
    start: Medium | None = None
    """The clip that is gone on from."""
    user: str | None = None
    """Whoever the client asks for; noted, never used."""


def orders(wish: Wish, offer: Offer, previews_max: int = 8) -> list[Order]:
    """The clips of a wish, one order each. Raises FieldError for the first thing that cannot be made."""
    _check_taken(wish, offer)
    _check_combinations(wish)
    seed = checked_seed(wish.seed, wish.count, previews_max)
    first = public_order(wish, offer, seed) if isinstance(offer, PublicOffer) else _order(wish, _model(offer), seed)
    return in_a_row(first, wish.count)


def in_a_row(first: Order, count: int) -> list[Order]:
    """An order and others like it, with the seeds that follow its own."""
    return [dataclasses.replace(first, seed=first.seed + number) for number in range(count)]


def reworded(order: Order, offer: Offer, prompt: str, seed: int, user: str | None) -> Order:
    """The same order with another prompt and seed. Raises FieldError for a prompt that the model cannot read."""
    if isinstance(offer, PublicOffer):
        prompt, negative = check_public_texts(offer, prompt, order.negative_prompt)
        notes = prompt_notes(offer, negative)
    else:
        prompt, _ = checked_texts(prompt, order.negative_prompt)
        notes = notes_of(_model(offer), dataclasses.replace(order, prompt=prompt).request())
    return dataclasses.replace(order, prompt=prompt, seed=seed, user=user, notes=notes)


def not_taken(field: str, offer: Offer) -> FieldError:
    """The refusal of what a model has nothing for."""
    return FieldError(field, f"{offer.name} takes no {field}; leave it out, or ask another model", "not_supported")


def _model(offer: Offer) -> ModelOffer:
    assert isinstance(offer, ModelOffer), offer
    return offer


def render_order(
    source: Mapping[str, Any], result: Mapping[str, Any], job: str, offer: Offer, asked: Any
) -> RenderOrder:
    """The render of a finished job from its order, its result and what is ``asked`` beside that, a form ``Render``.

    Raises FieldError for a clip that there is nothing to render of.
    """
    if "source" in source or source["size"] != source["preview"]:
        raise FieldError(None, f"{job} is a render already, of {source['size']}; render its preview", "not_renderable")
    if "video" in source["media"]:
        raise FieldError(None, f"{job} shows a film that was given; there is no picture of ours to render")
    published = bool(source.get("published"))
    with naming("size"):
        width, height = map(int, source["preview"].split("x"))
        wanted = offer.render_of((width, height), asked.size)
        size = snapped(*wanted) if published else wanted
    with naming("num_inference_steps"):
        steps = checked_whole("num_inference_steps", _or(asked.num_inference_steps, offer.render_steps), 1, 100)
    with naming("seed"):
        seed = checked_whole("seed", _or(asked.seed, source["seed"]), 0, SEED_MAX)
    return RenderOrder(
        prompt=source["prompt"],
        seed=seed,
        size=size_name(size),
        preview=source["preview"],
        seconds=result["seconds"],
        steps=steps,
        source=job,
        video=result["video"],
        latents=result.get("latents"),
        image=source["media"].get("image"),
        notes=(cut_note(wanted, size),) if size != wanted else (),
        user=asked.user,
        published=published,
    )


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


# ------------------------------------------------------------------------------------------------------- field by field
def _order(wish: Wish, offer: ModelOffer, seed: int) -> Order:
    size = _size(wish, offer)
    window, total = _seconds(wish, offer)
    shape = ClipShape(window, size.preview[1], size.preview[0])
    _check_film(wish, shape)
    if wish.loop:
        with naming("seconds"):
            parts(shape)
    prompt, negative = checked_texts(wish.prompt, wish.negative_prompt)
    sampling = offer.sampling
    with naming("num_inference_steps"):
        steps = checked_whole("num_inference_steps", _or(wish.steps, sampling.steps), 1, 1000)
    with naming("guidance_scale"):
        request = make_request(
            sampling,
            prompt,
            negative=negative,
            seconds=window,
            size=size.preview_name,
            seed=seed,
            steps=steps,
            guidance=wish.guidance,
        )
    known = {**wish.media, **({"start": wish.start} if wish.start else {})}
    return Order(
        prompt=request.prompt,
        negative_prompt=request.negative,
        seed=seed,
        size=size.name,
        preview=size.preview_name,
        seconds=total,
        window=window,
        steps=request.steps,
        guidance=request.guidance,
        sampler=request.sampler,
        shift=request.shift,
        loop=wish.loop,
        media={name: medium.to_dict() for name, medium in known.items()},
        notes=notes_of(offer, request),
        user=wish.user,
    )


def _check_taken(wish: Wish, offer: Offer) -> None:
    asked = {**wish.media, "start": wish.start, "loop": wish.loop or None, "guidance": wish.guidance}
    for name, value in asked.items():
        if value is not None and name not in offer.takes:
            raise not_taken(ASKED_AS[name], offer)


def _check_combinations(wish: Wish) -> None:
    """What the command line refuses too."""
    given = set(wish.media)
    if "video" in given and "audio" in given:
        raise FieldError("audio_reference", "a film and a sound together leave nothing to make; give one of the two")
    if "video" in given and given & {"image", "last_image"}:
        raise FieldError("video_reference", "a film has its first and last frame already; give it without an image")
    if wish.loop and (wish.start or given & {"video", "audio", "last_image"}):
        raise FieldError("loop", "a loop makes its own ending; ask for it without a clip, film, sound or last image")
    if wish.start and given:
        raise FieldError("video", "a clip goes on by itself; give no image, sound or film with it")
    if wish.user is not None and len(wish.user) > USER_MAX:
        raise FieldError("user", f"user has {len(wish.user)} characters; the limit is {USER_MAX}")


def checked_texts(prompt: str, negative: str) -> tuple[str, str]:
    """Prompt and negative prompt without space around them. Raises FieldError for what the model cannot read."""
    with naming("prompt"):
        prompt = checked_prompt(prompt)
        Tokenizer.load().encode(prompt)
    with naming("negative_prompt"):
        try:
            negative = checked_prompt(negative) if negative.strip() else ""
            Tokenizer.load().encode(negative)
        except PromptError as error:
            raise PromptError(str(error).replace("the prompt", "the negative prompt")) from error
    return prompt, negative


def checked_seed(seed: int | None, count: int, previews_max: int) -> int:
    """The first of ``count`` seeds, drawn if it is not given. Raises FieldError for ``n`` or ``seed``."""
    with naming("n"):
        checked_whole("n", count, 1, previews_max)
    if seed is None:
        return secrets.randbelow(SEED_MAX - count + 2)
    with naming("seed"):
        if count > 1 and seed + count - 1 > SEED_MAX >= seed:
            raise ConfigError(f"seed {seed} with n {count} goes past {SEED_MAX}; the seeds follow each other")
        return checked_whole("seed", seed, 0, SEED_MAX)


def _size(wish: Wish, offer: ModelOffer) -> Size:
    picture = wish.media.get("video") or wish.media.get("image") or wish.media.get("last_image") or wish.start
    with naming("size"):
        aspect = picture.aspect if picture else None
        size = wish.size if isinstance(wish.size, Size) else offer.choose(wish.size, aspect)
        if size.rendered and "video" in wish.media:
            raise SizeError(f"a film keeps its own picture, and {size.name} is the size of a render; leave out size")
        if size.rendered and wish.start:
            raise SizeError(f"a clip goes on at the size of a preview, not at {size.name}; render what comes of it")
    return size


def _seconds(wish: Wish, offer: ModelOffer) -> tuple[float, float]:
    """What the model makes at a time, and the length of what the client gets."""
    sampling = offer.sampling
    with naming("seconds"):
        if wish.start:
            added = sampling.seconds if wish.seconds is None else wish.seconds
            total = wish.start.seconds + added
            if not (added >= 1 / FPS and total <= EXTENDED_MAX):
                raise SizeError(
                    f"a clip of {wish.start.seconds:.2f} s cannot go on for {added:g} s; together they may last "
                    f"{EXTENDED_MAX:g} s"
                )
            return sampling.seconds, total
        seconds = _or(wish.seconds, _or(_media_seconds(wish, sampling.seconds_max), sampling.seconds))
        check_seconds(sampling, seconds)
    return seconds, seconds


def _media_seconds(wish: Wish, longest: float) -> float | None:
    """How long the clip is that a film or a sound asks for, in whole frames."""
    medium = wish.media.get("video") or wish.media.get("audio")
    return None if medium is None else max(1, int(min(medium.seconds, longest) * FPS + 1e-6)) / FPS


def _check_film(wish: Wish, shape: ClipShape) -> None:
    film = wish.media.get("video")
    if film and film.seconds < shape.frames / FPS - SLACK:
        raise FieldError(
            "seconds", f"the film lasts {film.seconds:.2f} s; ask for at most that, not {shape.seconds:g} s"
        )


def notes_of(offer: ModelOffer, request: Request) -> tuple[str, ...]:
    """What is asked for in vain, a sentence each."""
    unknown = _note(request.prompt) if offer.name.startswith("foal") else ""
    return (*request.notes(offer.sampling), *([unknown.removeprefix("note: ")] if unknown else []))


@functools.lru_cache(maxsize=1024)
def _note(prompt: str) -> str:
    from happyhorse.data.scenes.known_prompts import note_for

    return note_for(prompt)
