"""What workers carry out: complete, checked, and JSON, as it is kept with a job."""

from __future__ import annotations

import dataclasses
from typing import Any

from happyhorse.config import Config
from happyhorse.errors import ConfigError
from happyhorse.sampling.published import PublishedShape
from happyhorse.sampling.request import Request
from happyhorse.types import ClipShape


@dataclasses.dataclass(frozen=True)
class Medium(Config):
    """A picture, sound or film that was given, checked and kept."""

    blob: str
    """Its content hash."""
    media_type: str
    bytes: int
    width: int = 0
    height: int = 0
    seconds: float = 0.0

    @property
    def aspect(self) -> float | None:
        return self.width / self.height if self.height else None


@dataclasses.dataclass(frozen=True)
class Order(Config):
    """One clip to be made, complete: what a worker reads."""

    prompt: str
    negative_prompt: str
    seed: int
    size: str
    """ "WxH" of what the client gets."""
    preview: str
    """ "WxH" of what is made first; the same unless it is rendered."""
    seconds: float
    """Length of what the client gets."""
    window: float
    """Length of what the model makes at a time; the same unless a clip goes on."""
    steps: int
    guidance: tuple[float, float]
    """For the picture and the sound."""
    sampler: str
    shift: float
    loop: bool = False
    media: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of Medium by the names in MEDIA, and "start"."""
    notes: tuple[str, ...] = ()
    """What was asked for in vain."""
    user: str | None = None
    published: bool = False
    """Of a published model: its own frame rate, one clip at a time, guidance as it was trained with."""

    @property
    def rendered(self) -> bool:
        return self.size != self.preview

    def medium(self, name: str) -> Medium | None:
        return Medium.from_dict(self.media[name]) if name in self.media else None

    @property
    def guided(self) -> bool:
        return self.guidance != (1.0, 1.0)

    @property
    def shape(self) -> ClipShape:
        """Of what the model makes at a time."""
        return shape_of(self.preview, self.window, self.published)

    @property
    def large(self) -> ClipShape:
        """Of what the client gets."""
        return shape_of(self.size, self.seconds, self.published)

    def request(self) -> Request:
        """What a model such as the foal is asked."""
        return Request(
            prompt=self.prompt,
            negative=self.negative_prompt,
            shape=self.shape,
            seed=self.seed,
            steps=self.steps,
            guidance=self.guidance,
            sampler=self.sampler,
            shift=self.shift,
        )

    def to_json(self) -> dict[str, Any]:
        return {**self.to_dict(), "guidance": list(self.guidance), "notes": list(self.notes)}


@dataclasses.dataclass(frozen=True)
class RenderOrder(Config):
    """A clip that was made, to be rendered: what a worker reads."""

    prompt: str
    seed: int
    size: str
    """ "WxH" of the render."""
    preview: str
    seconds: float
    steps: int
    source: str
    """Id of the job that made the clip."""
    video: str
    """Hash of its file."""
    latents: str | None = None
    """Hash of what it was decoded from; it is encoded again where that is gone."""
    image: dict[str, Any] | None = None
    """Fields of the Medium that it begins with."""
    notes: tuple[str, ...] = ()
    user: str | None = None
    published: bool = False
    """Of a published model, which renders only what it has the latents of."""

    @property
    def large(self) -> ClipShape:
        return shape_of(self.size, self.seconds, self.published)

    def to_json(self) -> dict[str, Any]:
        return {**self.to_dict(), "notes": list(self.notes)}


def shape_of(size: str, seconds: float, published: bool) -> ClipShape:
    """The shape of a clip of "WxH"."""
    width, height = map(int, size.split("x"))
    return (PublishedShape if published else ClipShape)(seconds, height, width)


def read_order(kind: str, request: dict[str, Any]) -> Order | RenderOrder:
    """What a job of a kind asks for. Raises ConfigError for one of another version of the service."""
    try:
        return (RenderOrder if kind == "render" else Order).from_dict(request)
    except ConfigError as error:
        raise ConfigError(
            f"the job was submitted to another version of the service; submit it again ({error})"
        ) from error
