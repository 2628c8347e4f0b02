"""What can be asked of a model: defaults and limits per model, and a request checked against them."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Iterator
from typing import Any

from happyhorse.config import Config
from happyhorse.errors import ConfigError, PromptError, SizeError
from happyhorse.flow.guidance import GuidanceScale
from happyhorse.sampling import samplers
from happyhorse.types import ClipShape

ASPECTS = ("1:1", "16:9", "9:16")
PROMPT_CHARACTERS_MAX = 5000
SEED_MAX = 2**31 - 1
STEPS_MAX = 1000
GUIDANCE_MAX = 30.0
SAMPLERS = tuple(samplers.BY_NAME)


@dataclasses.dataclass(frozen=True)
class Sampling(Config):
    """How a model likes to be asked; kept in its manifest."""

    steps: int = 50
    """Denoising steps."""
    shift: float = 3.0
    """Shift of the noise levels towards noise, a in t' = a t / (1 + (a - 1) t)."""
    sampler: str = "unipc"
    """One of SAMPLERS."""
    guidance_video: float = 4.0
    """Weight of the prompt against the negative prompt, for the picture; 1 means none."""
    guidance_audio: float = 4.0
    """The same for the sound."""
    sizes: tuple[str, ...] = ("128x128", "160x96", "96x160", "64x64")
    """Picture sizes WxH that the model makes; the first of each aspect is that aspect's default."""
    seconds: float = 5.0
    """Length of a clip unless asked otherwise."""
    seconds_min: float = 0.5
    """Shortest clip."""
    seconds_max: float = 10.0
    """Longest clip."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One clip to be made: complete and checked."""

    prompt: str
    negative: str
    shape: ClipShape
    seed: int
    steps: int
    guidance: tuple[float, float]
    """Weights of the prompt for the picture and the sound."""
    sampler: str
    shift: float

    def notes(self, sampling: Sampling) -> Iterator[str]:
        """What is asked for in vain, or against what the model was made for, a line each."""
        unguided = GuidanceScale(*self.guidance).is_plain
        if self.negative and unguided:
            yield "without guidance the negative prompt does nothing; a base model is asked with guidance"
        if not unguided and GuidanceScale(sampling.guidance_video, sampling.guidance_audio).is_plain:
            yield "this model was distilled to need no guidance; with it every step is twice the work"

    def recipe(self) -> dict[str, Any]:
        """As JSON values, in the words of the command line."""
        video, audio = self.guidance
        return {
            "prompt": self.prompt,
            "negative": self.negative,
            "seconds": self.shape.frames / self.shape.fps,
            "size": f"{self.shape.width}x{self.shape.height}",
            "seed": self.seed,
            "steps": self.steps,
            "guidance": [video, audio],
            "sampler": self.sampler,
            "shift": self.shift,
        }


def make_request(
    sampling: Sampling,
    prompt: str,
    *,
    negative: str = "",
    seconds: float | None = None,
    size: str | tuple[int, int] | None = None,
    seed: int | None = None,
    steps: int | None = None,
    guidance: float | tuple[float, float] | None = None,
    sampler: str | None = None,
    shift: float | None = None,
    image_aspect: float | None = None,
) -> Request:
    """A request whose gaps are filled from the model's defaults; a missing seed is drawn at random.

    ``size`` is (width, height), "WxH" or one of ASPECTS; without it, it follows ``image_aspect`` (width / height).
    Raises PromptError, SizeError or ConfigError for what the model cannot do.
    """
    seconds = sampling.seconds if seconds is None else seconds
    check_seconds(sampling, seconds)
    width, height = choose_size(sampling, size, image_aspect)
    return Request(
        prompt=checked_prompt(prompt),
        negative=_encodable(negative.strip(), "negative prompt"),
        shape=ClipShape(seconds, height, width),
        seed=checked_whole("seed", secrets.randbelow(SEED_MAX + 1) if seed is None else seed, 0, SEED_MAX),
        steps=checked_whole("steps", sampling.steps if steps is None else steps, 1, STEPS_MAX),
        guidance=_guidance(sampling, guidance),
        sampler=_one_of("sampler", sampler or sampling.sampler, SAMPLERS),
        shift=sampling.shift if shift is None else shift,
    )


def checked_prompt(prompt: str) -> str:
    """The prompt without space around it. Raises PromptError if it is empty or very long."""
    prompt = _encodable(prompt.strip(), "prompt")
    if not prompt:
        raise PromptError("the prompt is empty; say what should be seen and heard")
    return prompt


def _encodable(text: str, what: str) -> str:
    if len(text) > PROMPT_CHARACTERS_MAX:
        raise PromptError(f"the {what} has {len(text)} characters; the limit is {PROMPT_CHARACTERS_MAX}: shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"the {what} is not valid Unicode text; give it as UTF-8") from error
    return text


def check_seconds(sampling: Sampling, seconds: float) -> None:
    low, high = sampling.seconds_min, sampling.seconds_max
    if not low <= seconds <= high:  # also refuses NaN
        raise SizeError(f"a clip of {seconds:g} s cannot be made; ask for {low:g} to {high:g} s")


def choose_size(
    sampling: Sampling, size: str | tuple[int, int] | None, image_aspect: float | None = None
) -> tuple[int, int]:
    """(width, height) in pixels. Raises SizeError naming the nearest size that the model makes."""
    if size is None:
        return _of_aspect(sampling, image_aspect or 1.0)
    if size in ASPECTS:
        across, down = str(size).split(":")
        return _of_aspect(sampling, int(across) / int(down))
    width, height = parse_size(size) if isinstance(size, str) else size
    if f"{width}x{height}" not in sampling.sizes:
        nearest = min(sampling.sizes, key=lambda name: _distance(parse_size(name), (width, height)))
        raise SizeError(f"{width}x{height} cannot be made; the nearest size is {nearest} ({', '.join(sampling.sizes)})")
    return width, height


def parse_size(text: str) -> tuple[int, int]:
    """ "160x96" to (160, 96). Raises SizeError if it is not of this form."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) < 100_000 for part in parts):
        raise SizeError(f"{text!r} is not a size; write WIDTHxHEIGHT such as 160x96, or one of {', '.join(ASPECTS)}")
    return int(parts[0]), int(parts[1])


def _of_aspect(sampling: Sampling, aspect: float) -> tuple[int, int]:
    """The first of the model's sizes whose aspect is nearest."""
    sizes = [parse_size(name) for name in sampling.sizes]
    return min(sizes, key=lambda size: round(abs(math.log(size[0] / size[1] / aspect)), 6))


def _distance(a: tuple[int, int], b: tuple[int, int]) -> float:
    """How unlike two sizes are: the shape counts more than the area, which is mostly out of reach anyway."""
    if min(b) < 1:
        return math.inf
    aspect = math.log(a[0] / a[1] * b[1] / b[0])
    area = math.log(a[0] * a[1] / (b[0] * b[1]))
    return 2 * abs(aspect) + abs(area) / 2


def checked_whole(name: str, value: int, low: int, high: int) -> int:
    """The value, if it is within its range. Raises ConfigError if not."""
    if not low <= value <= high:
        raise ConfigError(f"{name} {value} is out of range; it may be {low} to {high}")
    return int(value)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ConfigError(f"{name} {value!r} is unknown; choose one of {', '.join(allowed)}")
    return value


def _guidance(sampling: Sampling, guidance: float | tuple[float, float] | None) -> tuple[float, float]:
    if guidance is None:
        guidance = (sampling.guidance_video, sampling.guidance_audio)
    pair = (guidance, guidance) if isinstance(guidance, int | float) else tuple(guidance)
    if len(pair) != 2 or not all(0 <= weight <= GUIDANCE_MAX for weight in pair):
        raise ConfigError(
            f"guidance {guidance} is out of range; give 0 to {GUIDANCE_MAX:g}, or a pair (picture, sound)"
        )
    return float(pair[0]), float(pair[1])
