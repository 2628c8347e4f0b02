"""What can be asked of the published 15.3 B models: sizes by name or in pixels, and a request checked against them."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Iterator
from typing import Any

from happyhorse.errors import SizeError
from happyhorse.sampling.published import CELL, FPS, Denoising, PublishedShape, snapped
from happyhorse.sampling.request import ASPECTS, SEED_MAX, STEPS_MAX, checked_prompt, checked_whole, parse_size

PREVIEW = (448, 256)
"""Width and height of a preview in landscape."""
RENDERS = {"540p": (896, 512), "720p": (1280, 704), "1080p": (1920, 1088)}
"""Width and height of renders in landscape; "1080p" has a super-resolution model of its own."""
PREVIEW_PIXELS_MAX = 896 * 512
RENDER_PIXELS_MAX = 1920 * 1088
SECONDS_MIN, SECONDS = 1.0, 5.0
SECONDS_MAX = 15.0

NEGATIVE = (
    "blurry picture, low resolution, compression artefacts, noise, flicker, washed-out colours, over-exposed, "
    "crushed shadows, static frame, slide show, jerky motion, sudden cuts, morphing objects, warped background, "
    "melting textures, distorted face, asymmetric eyes, extra fingers, missing fingers, fused hands, extra limbs, "
    "broken joints, plastic skin, wax figure, cartoon, watermark, logo, subtitles, on-screen text, split screen, "
    "mouth that does not move with the words, frozen lips, lips out of sync, muffled voice, robotic voice, monotone "
    "delivery, slurred words, wrong language, gibberish, voice of the wrong person, two voices at once, clipping, "
    "distortion, hiss, hum, crackle, echo, sudden silence, sound that does not fit the picture"
)
"""What the base model's guidance leads away from, unless told otherwise."""


@dataclasses.dataclass(frozen=True)
class PublicRequest:
    """One clip to be made: complete and checked."""

    prompt: str
    negative: str
    """Read only with guidance."""
    shape: PublishedShape
    large: PublishedShape | None
    """What the preview is rendered to; None if it stays as it is."""
    seed: int
    denoising: Denoising
    asked: tuple[tuple[int, int], tuple[int, int] | None]
    """Sizes as they were asked for, before they were cut to whole cells."""

    def notes(self) -> Iterator[str]:
        """What is done otherwise than asked, a line each."""
        for asked, shape in zip(self.asked, (self.shape, self.large), strict=True):
            if asked and shape and asked != (shape.width, shape.height):
                yield cut_note(asked, (shape.width, shape.height))

    def recipe(self) -> dict[str, Any]:
        """As JSON values, in the words of the command line."""
        return {
            "prompt": self.prompt,
            "negative": self.negative if self.denoising.guided else "",
            "seconds": self.shape.frames / FPS,
            "size": f"{self.shape.width}x{self.shape.height}",
            "seed": self.seed,
            "steps": self.denoising.steps,
        }


def make_public_request(
    prompt: str,
    denoising: Denoising,
    *,
    negative: str | None = None,
    seconds: float | None = None,
    size: str | tuple[int, int] | None = None,
    render: str | tuple[int, int] | None = None,
    seed: int | None = None,
    steps: int | None = None,
    image_aspect: float | None = None,
) -> PublicRequest:
    """A request with its gaps filled; a missing seed is drawn at random.

    ``size`` is (width, height), "WxH" or one of ASPECTS; without it, it follows ``image_aspect`` (width / height).
    ``render`` is one of RENDERS, or a size; None leaves the preview as it is. Raises PromptError, SizeError or
    ConfigError for what cannot be made.
    """
    seconds = check_seconds(SECONDS if seconds is None else seconds)
    small = preview_size(size, image_aspect)
    large = render_size(render, small) if render else None
    denoising = denoising if steps is None else denoising.replace(steps=checked_whole("steps", steps, 1, STEPS_MAX))
    drawn = secrets.randbelow(SEED_MAX + 1) if seed is None else seed
    return PublicRequest(
        prompt=checked_prompt(prompt),
        negative=checked_prompt(NEGATIVE if negative is None or not negative.strip() else negative),
        shape=_shape(seconds, small),
        large=_shape(seconds, large) if large else None,
        seed=checked_whole("seed", drawn, 0, SEED_MAX),
        denoising=denoising,
        asked=(small, large),
    )


def cut_note(asked: tuple[int, int], made: tuple[int, int]) -> str:
    """That a size was cut to whole cells."""
    return f"{asked[0]}x{asked[1]} is made as {made[0]}x{made[1]}: width and height are multiples of {CELL}"


def check_seconds(seconds: float) -> float:
    """The length of a clip, if it can be made. Raises SizeError if not."""
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:  # also refuses NaN
        raise SizeError(f"a clip of {seconds:g} s cannot be made; ask for {SECONDS_MIN:g} to {SECONDS_MAX:g} s")
    return seconds


def sound_seconds(seconds: float) -> float:
    """How long the clip for a sound is: as long as that in whole frames, within the limits."""
    return max(SECONDS_MIN, min(SECONDS_MAX, int(seconds * FPS) / FPS))


def _shape(seconds: float, size: tuple[int, int]) -> PublishedShape:
    width, height = snapped(*size)
    return PublishedShape(seconds, height, width)


def preview_size(size: str | tuple[int, int] | None, image_aspect: float | None = None) -> tuple[int, int]:
    """(width, height) of a preview, as asked for. Raises SizeError if it is too small or too large."""
    if size is None:
        return of_area(PREVIEW, image_aspect or PREVIEW[0] / PREVIEW[1])
    if size in ASPECTS:
        across, down = str(size).split(":")
        return of_area(PREVIEW, int(across) / int(down))
    width, height = parse_size(size) if isinstance(size, str) else size
    _check_size(width, height, PREVIEW_PIXELS_MAX)
    return width, height


def render_size(render: str | tuple[int, int], preview: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a render of a preview, as asked for. Raises SizeError for one that cannot be made."""
    if isinstance(render, str) and render in RENDERS:
        return of_area(RENDERS[render], preview[0] / preview[1])
    try:
        width, height = parse_size(render) if isinstance(render, str) else render
    except SizeError as error:
        raise SizeError(f"{render!r} is no render; ask for {', '.join(RENDERS)} or WIDTHxHEIGHT") from error
    _check_size(width, height, RENDER_PIXELS_MAX)
    return width, height


def _check_size(width: int, height: int, pixels_max: int) -> None:
    if min(width, height) < 2 * CELL or width * height > pixels_max:
        raise SizeError(
            f"{width}x{height} cannot be made; ask for sides of at least {2 * CELL} and at most {pixels_max} pixels"
        )


def of_area(landscape: tuple[int, int], aspect: float) -> tuple[int, int]:
    """The size of whole cells nearest to an aspect (width / height) with about the area of ``landscape``.

    The landscape size itself, upright or not, where that is the aspect within a twentieth.
    """
    width, height = landscape
    for size in ((width, height), (height, width)):
        if abs(math.log(size[0] / size[1] / aspect)) < 0.05:
            return size
    area = width * height
    across = max(2, round(math.sqrt(area * aspect) / CELL))
    return CELL * across, CELL * max(2, round(CELL * across / aspect / CELL))
