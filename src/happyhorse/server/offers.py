"""The models that a server offers, and what each of them can be asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from happyhorse.errors import ConfigError, SizeError
from happyhorse.sampling.given import FPS
from happyhorse.sampling.render import PIXELS_MAX, ROLE
from happyhorse.sampling.request import ASPECTS, Sampling, choose_size, parse_size
from happyhorse.sampling.superres import Enlarging
from happyhorse.server.errors import unknown_model
from happyhorse.weights.registry import is_public, resolve


@dataclasses.dataclass(frozen=True)
class Size:
    """How a picture size is made: as a preview, or as a preview that is rendered."""

    preview: tuple[int, int]
    """Width and height in pixels."""
    scale: int = 1
    """Factor of the render; 1: the preview itself."""

    @property
    def name(self) -> str:
        """ "WxH" of what the client gets."""
        return f"{self.scale * self.preview[0]}x{self.scale * self.preview[1]}"

    @property
    def preview_name(self) -> str:
        return f"{self.preview[0]}x{self.preview[1]}"

    @property
    def rendered(self) -> bool:
        return self.scale > 1


@dataclasses.dataclass(frozen=True)
class Offer:
    """A model as clients may ask for it."""

    name: str
    source: str
    """What it is loaded by: a name or a folder."""
    sampling: Sampling
    enlarging: Enlarging | None
    """How its previews are rendered; None if they cannot be."""
    fingerprint: str
    """Hash over its weights."""
    weight_bytes: int
    """Of all its weight files."""

    @property
    def render_sizes(self) -> tuple[str, ...]:
        """ "WxH" of what its previews are rendered to."""
        if self.enlarging is None:
            return ()
        scale = self.enlarging.scale
        sizes = (tuple(scale * side for side in parse_size(name)) for name in self.sampling.sizes)
        return tuple(f"{width}x{height}" for width, height in sizes if width * height <= PIXELS_MAX)

    def choose(self, size: str | None, aspect: float | None = None, render: bool = False) -> Size:
        """How a size is made: "WxH", one of ASPECTS, or None for what is nearest to ``aspect`` (width / height).

        With ``render``, and for the size of a render, a preview is made and rendered. Raises SizeError naming the
        nearest size that there is.
        """
        if size is None or size in ASPECTS or size in self.sampling.sizes:
            preview = choose_size(self.sampling, size, aspect)
            return Size(preview, self.render_scale(preview) if render else 1)
        width, height = parse_size(size)
        if f"{width}x{height}" in self.render_sizes:
            assert self.enlarging is not None
            return Size((width // self.enlarging.scale, height // self.enlarging.scale), self.enlarging.scale)
        everything = self.sampling.replace(sizes=(*self.sampling.sizes, *self.render_sizes))
        return Size(choose_size(everything, (width, height)))

    def render_scale(self, preview: tuple[int, int]) -> int:
        """Factor of a preview's render. Raises SizeError if there is none."""
        if self.enlarging is None:
            raise SizeError(f"{self.name} renders nothing; sizes are {', '.join(self.sampling.sizes)}")
        scale = self.enlarging.scale
        if scale**2 * preview[0] * preview[1] > PIXELS_MAX:
            raise SizeError(f"a render of {preview[0]}x{preview[1]} would be too large; make a smaller preview")
        return scale

    def describe(self) -> dict[str, Any]:
        """What clients are told of it."""
        sampling = self.sampling
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "happyhorse",
            "sizes": list(sampling.sizes),
            "render_sizes": list(self.render_sizes),
            "renders": self.enlarging is not None,
            "aspects": list(ASPECTS),
            "seconds": sampling.seconds,
            "seconds_min": sampling.seconds_min,
            "seconds_max": sampling.seconds_max,
            "steps": sampling.steps,
            "guidance": [sampling.guidance_video, sampling.guidance_audio],
            "fps": FPS,
            "weights": self.fingerprint,
        }


class Offers:
    """All models of a server; the first is the default."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        assert offers, "a server offers at least one model"
        self._by_name = {offer.name: offer for offer in offers}
        if len(self._by_name) < len(offers):
            raise ConfigError(f"two models are called the same ({', '.join(offer.name for offer in offers)})")

    @classmethod
    def load(cls, names: Sequence[str]) -> Offers:
        """The models with these names or folders. Raises WeightsError for one that is not here or has no manifest."""
        return cls([load_offer(name) for name in names])

    def __iter__(self):
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def default(self) -> Offer:
        return next(iter(self._by_name.values()))

    def find(self, name: str | None) -> Offer:
        """A model by its name, the default without one. Raises ServiceError if it is not offered."""
        if not name:
            return self.default
        if name not in self._by_name:
            raise unknown_model(name, self.names)
        return self._by_name[name]


def load_offer(name: str) -> Offer:
    """What a model can be asked for, from its manifest."""
    if is_public(name):
        raise ConfigError(f"{name} is not served, only models such as foal; use happyhorse generate --model {name}")
    model = resolve(name)
    manifest = model.manifest
    return Offer(
        name=manifest.name_of(model.generator),
        source=name if not Path(name).exists() else str(Path(name).absolute()),
        sampling=Sampling.from_dict(manifest.sampling_of(model.generator)),
        enlarging=Enlarging.from_dict(manifest.superres) if ROLE in manifest.files else None,
        fingerprint=manifest.fingerprint_of(model.generator),
        weight_bytes=sum(entry["bytes"] for entry in manifest.files.values()),
    )
