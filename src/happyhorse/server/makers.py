"""The makers of a worker: models on a device, or for load tests a stub that makes tiny clips at once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from happyhorse.clip import Clip
from happyhorse.codecs.media import read_mp4
from happyhorse.errors import MediaError
from happyhorse.sampling.extend import extend, load_start
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Given, load_film, load_image, load_sound
from happyhorse.sampling.loop import loop
from happyhorse.sampling.pipeline import Pipeline, Progress
from happyhorse.sampling.render import Preview, Renderer, as_preview
from happyhorse.server.batches import fits_batch, make_together
from happyhorse.server.making import Made, Media, made
from happyhorse.server.orders import Medium, Order, RenderOrder
from happyhorse.types import Latents

LOADERS: Mapping[str, Callable[[Any], Any]] = {
    "image": load_image,
    "last_image": load_image,
    "audio": load_sound,
    "video": load_film,
}


class ModelMaker:
    """A pipeline, and once it is needed a renderer, on one device."""

    def __init__(self, source: str, device: str) -> None:
        """Raises WeightsError if the model cannot be read, ConfigError without the device."""
        self._source, self._device = source, device
        self._pipeline = Pipeline.from_pretrained(source, device)
        self._renderer: Renderer | None = None

    def make(self, order: Order | RenderOrder, media: Media, progress: Progress) -> Made:
        """Carries out an order. Raises a HappyhorseError for what cannot be made, MemoryError where memory ends."""
        task = Task(media, progress, list(order.notes))
        with memory_errors():
            return self._render(order, task) if isinstance(order, RenderOrder) else self._generate(order, task)

    def make_together(self, orders: Sequence[Order | RenderOrder], media: Media, progress: Progress) -> list[Made]:
        """Carries out orders that differ in prompt and seed alone: in one batch if they can be, else one by one."""
        plain = [order for order in orders if isinstance(order, Order) and fits_batch(order)]
        if len(plain) < len(orders):
            return [self.make(order, inside(media, number), progress) for number, order in enumerate(orders)]
        with memory_errors():
            clips = make_together(self._pipeline, [order.request() for order in plain], progress)
        return [
            Task(inside(media, number), progress, list(order.notes)).hand_in(clip, "clip.mp4")
            for number, (order, clip) in enumerate(zip(plain, clips, strict=True))
        ]

    def _generate(self, order: Order, task: Task) -> Made:
        if start := order.medium("start"):
            clip = self._extend(order, start, task)
            return task.hand_in(clip, "clip.mp4")
        request, given = order.request(), Given(**dict(_given(order, task.media)))
        task.notes += given.notes(request.shape)
        if order.loop:
            clip = loop(self._pipeline, request, given, task.progress)
        else:
            clip = self._pipeline.make(request, given, task.progress)
        if not order.rendered:
            return task.hand_in(clip, "clip.mp4")
        path = task.write(clip, "preview.mp4")
        return self._enlarge(dataclasses.replace(as_preview(clip), image=given.image), path, order.seed, None, task)

    def _extend(self, order: Order, start: Medium, task: Task) -> Clip:
        begun, request = task.media.load("clip", start, load_start), order.request()
        task.notes += begun.notes(request.shape)
        return extend(self._pipeline, begun, request, order.seconds, task.progress)

    def _render(self, order: RenderOrder, task: Task) -> Made:
        path = task.media.path(order.video)
        film = read_mp4(path)
        preview = Preview(
            film.frames, film.audio[:1], json.loads(film.comment), latents_of(order, film.frames, task.media)
        )
        if order.image:
            image = task.media.load("image", Medium.from_dict(order.image), load_image)
            preview = dataclasses.replace(preview, image=image)
        return self._enlarge(preview, path, order.seed, order.steps, task)

    def _enlarge(self, preview: Preview, path: Path, seed: int, steps: int | None, task: Task) -> Made:
        """The render of the clip in the file ``path``, with the same sound, bit for bit."""
        if self._renderer is None:
            self._renderer = Renderer.from_pretrained(self._source, self._device)
        clip = self._renderer.render(preview, seed, steps, task.progress)
        return task.hand_in(clip, "render.mp4", sound_of=path)


@dataclasses.dataclass
class Task:
    """One order on its way: where its files are, and what has been noted so far."""

    media: Media
    progress: Progress
    notes: list[str]
    timings: dict[str, float] = dataclasses.field(default_factory=dict)

    def write(self, clip: Clip, name: str, sound_of: Path | None = None) -> Path:
        """Writes a clip and adds up what its stages took."""
        path = self.media.folder / name
        self.progress("write", 0, 1)
        began = time.perf_counter()
        clip.save(path, overwrite=True, sound_of=sound_of)
        self.progress("write", 1, 1)
        for stage, seconds in {**clip.timings, "write": time.perf_counter() - began}.items():
            self.timings[stage] = round(self.timings.get(stage, 0.0) + seconds, 3)
        return path

    def hand_in(self, clip: Clip, name: str, sound_of: Path | None = None) -> Made:
        return made(clip, self.write(clip, name, sound_of), self.notes, self.timings)


def inside(media: Media, number: int) -> Media:
    """A folder of its own for each order."""
    folder = media.folder / str(number)
    folder.mkdir()
    return dataclasses.replace(media, folder=folder)


def _given(order: Order, media: Media) -> Iterator[tuple[str, Any]]:
    for name, load in LOADERS.items():
        if medium := order.medium(name):
            yield name, media.load(name, medium, load)


def latents_of(order: RenderOrder, frames: NDArray[np.uint8], media: Media) -> Latents | None:
    """What the clip was decoded from, if it is there and fits the film; None: the film is encoded again."""
    if order.latents is None:
        return None
    try:
        with safe_open(str(media.path(order.latents)), framework="pt") as file:
            latents = Latents(file.get_tensor("video").float(), file.get_tensor("audio").float())
    except (MediaError, SafetensorError, OSError):
        return None
    return latents if tuple(16 * side for side in latents.video.shape[3:]) == frames.shape[1:3] else None


@contextlib.contextmanager
def memory_errors() -> Iterator[None]:
    """A full GPU is told of as a full machine is."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        raise MemoryError(str(error)) from error


class StubMaker:
    """Makes tiny clips of half a second without a model. "takes 0.5 s" in a prompt says how long it takes."""

    STEPS = 4

    def make(self, order: Order | RenderOrder, media: Media, progress: Progress) -> Made:
        seconds = stub_seconds(order.prompt)
        for step in range(self.STEPS + 1):
            progress("denoise", step, self.STEPS)
            time.sleep(seconds / (self.STEPS + 1))
        frames = np.full((FPS // 2, 32, 32, 3), order.seed % 256, np.uint8)
        recipe = {"happyhorse": "stub", "prompt": order.prompt, "seed": order.seed, "size": "32x32"}
        clip = Clip(frames, np.zeros((1, SAMPLE_RATE // 2), np.float32), FPS, SAMPLE_RATE, recipe, {"denoise": seconds})
        return Task(media, progress, list(order.notes)).hand_in(clip, "clip.mp4")

    def make_together(self, orders: Sequence[Order | RenderOrder], media: Media, progress: Progress) -> list[Made]:
        return [self.make(order, inside(media, number), progress) for number, order in enumerate(orders)]


def stub_seconds(prompt: str) -> float:
    found = re.search(r"takes (\d+(?:\.\d+)?) s", prompt)
    return min(60.0, float(found[1])) if found else 0.0
