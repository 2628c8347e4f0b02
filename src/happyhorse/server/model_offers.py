"""Models such as the foal, whose folder says in a manifest what they can be asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from happyhorse.errors import SizeError
from happyhorse.sampling.given import FPS
from happyhorse.sampling.render import PIXELS_MAX, ROLE
from happyhorse.sampling.request import ASPECTS, Sampling, choose_size, parse_size
from happyhorse.sampling.superres import Enlarging
from happyhorse.server.sizes import Size, size_name
from happyhorse.weights.registry import resolve


@dataclasses.dataclass(frozen=True)
class ModelOffer:
    """A model of a folder with a manifest, as clients may ask for it. See ``offers.Offer``."""

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

    fps = FPS
    takes = ("image", "last_image", "audio", "video", "start", "loop", "guidance")
    unit_seconds = 3.0 / (8 * 617)
    """A clip of the foal, 5 s at 128x128 in 8 steps, takes about 3 s on two cores."""

    @property
    def seconds_range(self) -> tuple[float, float]:
        return self.sampling.seconds_min, self.sampling.seconds_max

    @property
    def memory_bytes(self) -> int:
        return 2 * self.weight_bytes

    @property
    def render_steps(self) -> int:
        return self.enlarging.steps if self.enlarging else 0

    @property
    def render_sizes(self) -> tuple[str, ...]:
        """ "WxH" of what its previews are rendered to."""
        if self.enlarging is None:
            return ()
        large = [self._enlarged(parse_size(name)) for name in self.sampling.sizes]
        return tuple(size_name(size) for size in large if size[0] * size[1] <= PIXELS_MAX)

    def choose(self, size: str | None, aspect: float | None = None) -> Size:
        """How a size is made: "WxH", one of ASPECTS, or None for what is nearest to ``aspect`` (width / height).

        The size of a render is that of a preview which is rendered. Raises SizeError naming the nearest size that there
        is.
        """
        if size is None or size in ASPECTS or size in self.sampling.sizes:
            return Size(choose_size(self.sampling, size, aspect))
        large = parse_size(size)
        if size_name(large) in self.render_sizes:
            assert self.enlarging is not None
            return Size((large[0] // self.enlarging.scale, large[1] // self.enlarging.scale), large)
        everything = self.sampling.replace(sizes=(*self.sampling.sizes, *self.render_sizes))
        return Size(choose_size(everything, large))

    def hosted(self, resolution: str, aspect: float) -> Size:
        preview = choose_size(self.sampling, None, aspect)
        return Size(preview, None if resolution == "480P" or self.enlarging is None else self.render_of(preview))

    def render_of(self, preview: tuple[int, int], wanted: str | None = None) -> tuple[int, int]:
        if self.enlarging is None:
            raise SizeError(f"{self.name} renders nothing; sizes are {', '.join(self.sampling.sizes)}")
        large = self._enlarged(preview)
        if large[0] * large[1] > PIXELS_MAX:
            raise SizeError(f"a render of {size_name(preview)} would be too large; make a smaller preview")
        if wanted is not None and wanted.lower() != size_name(large):
            raise SizeError(
                f"{wanted!r} cannot be made of {size_name(preview)}, only {size_name(large)}; leave out size"
            )
        return large

    def describe(self) -> dict[str, Any]:
        sampling = self.sampling
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "happyhorse",
            "sizes": list(sampling.sizes),
            "render_sizes": list(self.render_sizes),
            "render_options": [],
            "size_limits": None,
            "renders": self.enlarging is not None,
            "aspects": list(ASPECTS),
            "takes": list(self.takes),
            "seconds": sampling.seconds,
            "seconds_min": sampling.seconds_min,
            "seconds_max": sampling.seconds_max,
            "steps": sampling.steps,
            "guidance": [sampling.guidance_video, sampling.guidance_audio],
            "fps": self.fps,
            "weights": self.fingerprint,
        }

    def _enlarged(self, preview: tuple[int, int]) -> tuple[int, int]:
        assert self.enlarging is not None
        return self.enlarging.scale * preview[0], self.enlarging.scale * preview[1]


def load_model_offer(name: str) -> ModelOffer:
    """What a model can be asked for, from its manifest. Raises WeightsError if it is not here."""
    model = resolve(name)
    manifest = model.manifest
    return ModelOffer(
        name=manifest.name_of(model.generator),
        source=name if not Path(name).exists() else str(Path(name).absolute()),
        sampling=Sampling.from_dict(manifest.sampling_of(model.generator)),
        enlarging=Enlarging.from_dict(manifest.superres) if ROLE in manifest.files else None,
        fingerprint=manifest.fingerprint_of(model.generator),
        weight_bytes=sum(entry["bytes"] for entry in manifest.files.values()),
    )
