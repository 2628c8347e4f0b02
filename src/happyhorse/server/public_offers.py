"""The published 15.3 B models as clients may ask for them: any size within limits, and renders of several sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

from happyhorse.codecs.t5gemma import PromptTokenizer, T5GemmaText
from happyhorse.errors import SizeError
from happyhorse.sampling.public import SHIPPED
from happyhorse.sampling.public_parts import GENERATORS, HD, Choice, enlarger_for, fingerprint, kind_of, load_tokenizer
from happyhorse.sampling.public_request import (
    PREVIEW,
    PREVIEW_PIXELS_MAX,
    RENDER_PIXELS_MAX,
    RENDERS,
    SECONDS,
    SECONDS_MAX,
    SECONDS_MIN,
    of_area,
    preview_size,
    render_size,
)
from happyhorse.sampling.published import CELL, FPS, Denoising, PublishedShape, snapped
from happyhorse.sampling.request import ASPECTS, parse_size
from happyhorse.server.sizes import Size, size_name
from happyhorse.weights.catalogue import find
from happyhorse.weights.kept import state
from happyhorse.weights.registry import public

LANDSCAPE_FIRST = ("16:9", "9:16", "1:1")
"""These models' own shape comes first, as the default does everywhere."""
GUIDANCE = (5.0, 5.0)
"""Of the base model, picture and sound; the picture's is 2 in the last steps. The others have none."""
_HOSTED = {"720P": ("720p", "540p"), "1080P": ("1080p", "720p", "540p")}
"""What stands for a resolution of the hosted service, the nearest first."""
_ENLARGERS = ("540p", "1080p")
_FLOPS = 4e14
"""That a large GPU does in a second, about half of what is on its label."""
_PARAMETERS = 15.3e9


@dataclasses.dataclass(frozen=True)
class PublicOffer:
    """A published model as clients may ask for it. See ``offers.Offer``."""

    name: str
    denoising: Denoising
    enlargers: tuple[str, ...]
    """Super-resolution models that are here, of "540p" and "1080p"."""
    fingerprint: str
    tokenizer: PromptTokenizer = dataclasses.field(repr=False, compare=False)
    """Counts the tokens of prompts, so that one that is too long is refused before it waits."""

    fps = FPS
    takes = ("image", "audio")
    seconds_range = (SECONDS_MIN, SECONDS_MAX)
    render_steps = SHIPPED.steps
    unit_seconds = 2 * _PARAMETERS / _FLOPS
    """A multiplication and an addition for each weight."""

    @property
    def source(self) -> str:
        return self.name

    @property
    def memory_bytes(self) -> int:
        return find(self.name).memory

    @property
    def guidance(self) -> tuple[float, float]:
        return GUIDANCE if self.denoising.guided else (1.0, 1.0)

    @property
    def render_options(self) -> tuple[str, ...]:
        """Names of renders whose models are here, the smallest first."""
        return tuple(name for name, size in RENDERS.items() if enlarger_for_size(size) in self.enlargers)

    @property
    def sizes(self) -> tuple[str, ...]:
        return tuple(size_name(preview_size(aspect)) for aspect in LANDSCAPE_FIRST)

    @property
    def render_sizes(self) -> tuple[str, ...]:
        previews = [preview_size(aspect) for aspect in LANDSCAPE_FIRST]
        return tuple(size_name(render_size(name, preview)) for name in self.render_options for preview in previews)

    def choose(self, size: str | None, aspect: float | None = None) -> Size:
        """How a size is made, as it was asked for (see ``snapped``): "WxH", one of ASPECTS, or None for ``aspect``.

        The size of a render, and one that is too large for a preview, is that of a rendered preview. Raises SizeError.
        """
        if size is not None and size not in ASPECTS:
            width, height = parse_size(size)
            if size_name((width, height)) in self.render_sizes or width * height > PREVIEW_PIXELS_MAX:
                preview = of_area(PREVIEW, width / height)
                return Size(preview, self.render_of(preview, size_name((width, height))))
        return Size(preview_size(size, aspect))

    def hosted(self, resolution: str, aspect: float) -> Size:
        preview = preview_size(None, aspect)
        renders = (render_size(name, preview) for name in _HOSTED.get(resolution, ()))
        # Of one name, portraits may have a few pixels more than what its model renders.
        return Size(preview, next((size for size in renders if enlarger_for_size(size) in self.enlargers), None))

    def render_of(self, preview: tuple[int, int], wanted: str | None = None) -> tuple[int, int]:
        if not self.render_options:
            raise SizeError(f"{self.name} renders nothing here; ask for a preview such as {', '.join(self.sizes)}")
        large = render_size(wanted or self.render_options[0], preview)
        if enlarger_for_size(large) not in self.enlargers:
            raise SizeError(
                f"{size_name(large)} cannot be rendered here; ask for {' or '.join(self.render_options)} "
                f"({', '.join(self.render_sizes)})"
            )
        return large

    def check_tokens(self, prompt: str) -> None:
        """Raises PromptError if a prompt has more tokens than the model reads."""
        T5GemmaText(self.tokenizer, None).ids(prompt)  # type: ignore[arg-type]

    def describe(self) -> dict[str, Any]:
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "happyhorse",
            "sizes": list(self.sizes),
            "render_sizes": list(self.render_sizes),
            "render_options": list(self.render_options),
            "size_limits": {
                "multiple_of": CELL,
                "side_min": 2 * CELL,
                "preview_pixels_max": PREVIEW_PIXELS_MAX,
                "render_pixels_max": self._render_pixels_max,
            },
            "renders": bool(self.render_options),
            "aspects": list(LANDSCAPE_FIRST),
            "takes": list(self.takes),
            "seconds": SECONDS,
            "seconds_min": SECONDS_MIN,
            "seconds_max": SECONDS_MAX,
            "steps": self.denoising.steps,
            "guidance": list(self.guidance),
            "fps": self.fps,
            "weights": self.fingerprint,
        }

    @property
    def _render_pixels_max(self) -> int | None:
        if "1080p" in self.enlargers:
            return RENDER_PIXELS_MAX
        return HD if self.enlargers else None


def enlarger_for_size(size: tuple[int, int]) -> str:
    """Which super-resolution model renders to a size in pixels, once it is cut to whole cells."""
    width, height = snapped(*size)
    return enlarger_for(PublishedShape(SECONDS_MIN, height, width))


def load_public_offer(name: str) -> PublicOffer:
    """What a published model can be asked for here. Raises WeightsError, with the command that gets it, if it is not
    here or makes no clips by itself, MissingToolError without what reads prompts."""
    denoising, weights = GENERATORS[kind_of(name)], public(name)
    return PublicOffer(
        name=name,
        denoising=denoising,
        enlargers=tuple(kind for kind in _ENLARGERS if state(find(f"magihuman-{kind}")).kind == "complete"),
        fingerprint=fingerprint(Choice(kind_of(name), weights, None)),
        tokenizer=load_tokenizer(weights.folders["text"]),
    )
