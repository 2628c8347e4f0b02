"""The maker of a published model: the memory planner places its pipeline, and does so anew where a clip needs it."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from happyhorse.codecs.media import read_mp4
from happyhorse.device import find_device
from happyhorse.errors import DeviceMemoryError, MediaError, WeightsError
from happyhorse.memory.plan import Plan, Room, Stage, plan, refit
from happyhorse.memory.room import room_on
from happyhorse.sampling.given import Image
from happyhorse.sampling.pipeline import Progress
from happyhorse.sampling.public import (
    GivenSound,
    PublicGiven,
    PublicIdentity,
    PublicPipeline,
    PublicPreview,
    load_given,
)
from happyhorse.sampling.public_parts import (
    GENERATORS,
    Choice,
    choose,
    fingerprint,
    kind_of,
    load_public,
    sources,
    stages,
    text_config,
)
from happyhorse.sampling.public_request import RENDERS, PublicRequest, make_public_request
from happyhorse.sampling.published import Rendering
from happyhorse.server.makers import Task, inside, latents_of, memory_errors
from happyhorse.server.making import Made, Media
from happyhorse.server.orders import Medium, Order, RenderOrder
from happyhorse.server.public_offers import PublicOffer
from happyhorse.server.public_wishes import public_request
from happyhorse.weights.registry import PublicWeights

_PLANS_KEPT = 64
"""Kinds of clips whose needs are remembered: to find them out takes seconds of dry runs."""


class Pipelines:
    """The pipeline of the published model that is asked for, on one device: of several models one at a time."""

    def __init__(self, device: str) -> None:
        """Raises ConfigError without the device."""
        self._device = find_device(device)
        self._pipeline: PublicPipeline | None = None
        self._generator: PublicWeights | None = None
        self._enlarger: PublicWeights | None = None
        """What the pipeline's modules are of."""
        self._room = Room(0, 0)

    def lend(self, choice: Choice, request: PublicRequest, image: bool) -> PublicPipeline:
        """The pipeline for a request. Its modules stay where they are for as long as that fits.

        Raises DeviceMemoryError if there is no place for it, WeightsError if it cannot be read.
        """
        if self._generator != choice.generator:
            self._forget()
            self._room = room_on(self._device)
        placement = self._placement(needs(choice, request, image))
        if self._pipeline is None:
            self._pipeline = load_public(choice, placement, self._device)
        else:
            other = choice.enlarger is not None and choice.enlarger != self._enlarger
            self._pipeline.turns.change(placement, sources(choice), ("render",) if other else ())
        self._generator, self._enlarger = choice.generator, choice.enlarger or self._enlarger
        self._pipeline.identity = PublicIdentity(choice.generator.model.name, fingerprint(choice))
        return self._pipeline

    def _placement(self, needed: Sequence[Stage]) -> Plan:
        """As it is, if that fits; else one that has a place for what was needed before as well."""
        if self._pipeline is None:
            return plan(needed, self._room)
        before, names = self._pipeline.turns.plan, {stage.name for stage in needed}
        others = [seat.stage for seat in before.seats if seat.stage.name not in names]
        return refit(before, needed, self._room) or plan([*needed, *others], self._room)

    def _forget(self) -> None:
        """Gives back all memory, so that what is free can be seen."""
        self._pipeline = self._generator = self._enlarger = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def needs(choice: Choice, request: PublicRequest, image: bool) -> tuple[Stage, ...]:
    """What the stages of a request need."""
    alike = dataclasses.replace(request, prompt="", negative="", seed=0)
    return _needs(choice.kind, alike, image, choice.number_format, text_config(choice))


@functools.lru_cache(_PLANS_KEPT)
def _needs(kind: str, request: PublicRequest, image: bool, number_format: str, text: Path) -> tuple[Stage, ...]:
    return tuple(stages(kind, request, image, number_format, text))


class PublicMaker:
    """A published model on a device."""

    def __init__(self, name: str, pipelines: Pipelines) -> None:
        self._name, self._denoising, self._pipelines = name, GENERATORS[kind_of(name)], pipelines

    def make(self, order: Order | RenderOrder, media: Media, progress: Progress) -> Made:
        """Carries out an order. Raises a HappyhorseError for what cannot be made, MemoryError where memory ends."""
        task = Task(media, progress, list(order.notes))
        with memory_errors():
            return self._render(order, task) if isinstance(order, RenderOrder) else self._generate(order, task)

    def make_together(self, orders: Sequence[Order | RenderOrder], media: Media, progress: Progress) -> list[Made]:
        """One by one: a clip fills a device."""
        return [self.make(order, inside(media, number), progress) for number, order in enumerate(orders)]

    def _generate(self, order: Order, task: Task) -> Made:
        request, given = public_request(order, self._denoising), _given(order, task.media)
        task.notes += given.notes(request.shape)
        # Without its render: what a preview is made by does not depend on whether it is rendered.
        pipeline = self._pipeline(dataclasses.replace(request, large=None), given.image, task)
        clip = pipeline.make(request, given, task.progress)
        if request.large is None:
            return task.hand_in(clip, "clip.mp4")
        path = task.write(clip, "preview.mp4")
        assert clip.latents is not None
        preview = PublicPreview(clip.latents, clip.audio, clip.recipe, given.image)
        return self._enlarge(preview, path, request, Rendering(), task)

    def _render(self, order: RenderOrder, task: Task) -> Made:
        path = task.media.path(order.video)
        film = read_mp4(path)
        latents = latents_of(order, film.frames, task.media)
        if latents is None:
            raise MediaError("the latents of the preview are not there any more; make it again, and render that")
        image = task.media.load("image", Medium.from_dict(order.image), _image) if order.image else None
        preview = PublicPreview(latents, film.audio, json.loads(film.comment), image)
        request = make_public_request(
            order.prompt,
            self._denoising,
            seconds=order.seconds,
            size=order.preview,
            render=order.size,
            seed=order.seed,
        )
        return self._enlarge(preview, path, request, Rendering(steps=order.steps), task)

    def _enlarge(self, preview: PublicPreview, path: Path, request: PublicRequest, how: Rendering, task: Task) -> Made:
        """The render of the clip in the file ``path``, with the same sound, bit for bit."""
        assert request.large is not None
        pipeline = self._pipeline(request, preview.image, task)
        clip = pipeline.render(preview, request.large, request.seed, how, task.progress)
        return task.hand_in(clip, "render.mp4", sound_of=path)

    def _pipeline(self, request: PublicRequest, image: Image | None, task: Task) -> PublicPipeline:
        task.progress("plan", 0, 1)
        return self._pipelines.lend(choose(self._name, request), request, image is not None)


def _given(order: Order, media: Media) -> PublicGiven:
    image, sound = order.medium("image"), order.medium("audio")
    return PublicGiven(
        media.load("image", image, _image) if image else None, media.load("audio", sound, _sound) if sound else None
    )


def _image(path: Path) -> Image | None:
    return load_given(image=path).image


def _sound(path: Path) -> GivenSound | None:
    return load_given(audio=path).sound


# -------------------------------------------------------------------------------------------------- said at the start
def what_fits(offer: PublicOffer, device: str) -> str:
    """A line for people: what of a model cannot be made on a device, and why."""
    lacking, room = list[str](), room_on(find_device(device))
    for name in reversed(RENDERS):
        reason = misfit(offer, name, room)
        if reason is None:
            break
        lacking.append(f"no renders to {name} ({reason})")
    else:
        if reason := misfit(offer, None, room):
            lacking = [f"nothing ({reason})"]
    return f"{offer.name} on {device}: {'; '.join(lacking) or 'previews and all renders fit'}"


def misfit(offer: PublicOffer, render: str | None, room: Room) -> str | None:
    """Why a clip of the default length cannot be made, or be rendered so; None if it can."""
    request = make_public_request("a plan", offer.denoising, render=render)
    try:
        plan(needs(choose(offer.name, request), request, True), room)
    except (DeviceMemoryError, WeightsError) as error:
        return str(error)
    return None
