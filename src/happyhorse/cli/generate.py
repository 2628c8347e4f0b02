"""``happyhorse generate``: from options to jobs, from jobs to files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from happyhorse import __version__
from happyhorse.cli.compiling import make_compiling
from happyhorse.cli.main import EXIT_STOPPED, say
from happyhorse.cli.progress import StageProgress
from happyhorse.cli.render import RenderOptions, render_path, write_render
from happyhorse.clip import Clip, read_recipe
from happyhorse.compile.choose import check_asked
from happyhorse.device import find_device
from happyhorse.errors import ConfigError, MediaError, OutputError, PromptError
from happyhorse.files import check_output
from happyhorse.library import Library
from happyhorse.sampling.extend import Start, check_length, extend, load_start
from happyhorse.sampling.given import Given, Image, load_film, load_image, load_sound
from happyhorse.sampling.loop import loop, parts
from happyhorse.sampling.pipeline import NOTHING, Pipeline, Progress, load_parts
from happyhorse.sampling.render import Renderer, as_preview, load_render_parts
from happyhorse.sampling.request import SEED_MAX, Request, Sampling, make_request
from happyhorse.weights.registry import is_public, resolve

if TYPE_CHECKING:
    from happyhorse.sampling.public_request import PublicRequest

COUNT_MAX = 1000
PROMPT_FILE_BYTES_MAX = 2**20
NAME_LENGTH = 60

RECIPE_TYPES: Mapping[str, tuple[type, ...]] = {
    "prompt": (str,),
    "negative": (str,),
    "seconds": (int, float),
    "size": (str,),
    "seed": (int,),
    "steps": (int,),
    "guidance": (list,),
    "sampler": (str,),
    "shift": (int, float),
    "model": (str,),
    "compile": (dict,),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line, as given; None where an option was left out."""

    prompt: str | None = None
    output: Path | None = None
    model: str | None = None
    image: Path | None = None
    last_image: Path | None = None
    audio: Path | None = None
    video: Path | None = None
    extend: Path | None = None
    loop: bool = False
    seconds: float | None = None
    aspect: str | None = None
    size: str | None = None
    seed: int | None = None
    steps: int | None = None
    guidance: str | None = None
    negative: str | None = None
    count: int = 1
    prompts: Path | None = None
    like: Path | None = None
    device: str | None = None
    compile: str | None = None
    render: str | None = None
    """"" for four times the size; the published models also take a size."""
    format: str | None = None
    library: Path | None = None
    overwrite: bool = False
    json: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """One clip to be made and where it goes."""

    request: Request
    path: Path

    @property
    def render_path(self) -> Path:
        """Where its render goes."""
        return render_path(self.path)


def generate_clips(options: Options) -> int:
    """Makes all clips that the options ask for and returns the exit code. Everything that can be refused is refused
    before the first one is started."""
    if options.model and is_public(options.model):
        from happyhorse.cli.public import generate_public

        return generate_public(options, options.model)
    if options.render or options.format:
        raise ConfigError("the foal renders at four times the size, in its own format; give --render alone")
    recipe = like_recipe(options)
    model = resolve(options.model or recipe.get("model", "foal"))
    if recipe:
        _note_differences(recipe, model.manifest.fingerprint_of(model.generator))
    sampling = Sampling.from_dict(model.manifest.sampling_of(model.generator))
    given, longer = load_given(options, recipe), load_longer(options, recipe, sampling)
    if options.render is not None and given.video:
        raise ConfigError("--render enlarges a picture of ours, and --video gives one; leave one of them out")
    looped = options.loop or bool(recipe.get("loop"))
    if looped and (longer or given.video or given.audio or given.last_image):
        raise ConfigError("--loop makes its own ending; give it without --extend, --video, --audio and --last-image")
    if longer and given != NOTHING:
        raise ConfigError("--extend goes on from a clip alone; give it without an image, sound or film")
    jobs = make_jobs(options, recipe, sampling, given, longer)
    if looped:
        parts(jobs[0].request.shape)
    check_asked(options.compile or "auto")
    device = find_device(options.device)
    began = time.perf_counter()
    with StageProgress() as progress:
        progress("load", 0, 1)
        loaded = load_parts(model, device)
        compiling = make_compiling(loaded.model, options.compile, recipe, len(jobs))
        pipeline = Pipeline(loaded, device, compiling)
        renderer = None
        if options.render is not None:
            large = load_render_parts(model, device)
            renderer = Renderer(large, device, make_compiling(large.model, options.compile, {}, len(jobs)))
        progress("load", 1, 1)
    loading = round(time.perf_counter() - began, 3)
    pipeline.parts.text.batch([text for job in jobs for text in (job.request.prompt, job.request.negative)])
    _note_unknown_words(model.manifest.name, jobs)
    request = jobs[0].request
    for note in (*(longer.start if longer else given).notes(request.shape), *request.notes(sampling)):
        say(f"note: {note}")

    def make(request: Request, progress: Progress) -> Clip:
        if longer:
            return extend(pipeline, longer.start, request, longer.seconds, progress)
        if looped:
            return loop(pipeline, request, given, progress)
        return pipeline.make(request, given, progress)

    keep = Keeper(options, renderer, None if longer else given.image)
    return _make(make, jobs, options, loading, keep)


@dataclasses.dataclass
class Keeper:
    """What happens to a clip once it is written: it is kept in the library, and rendered if that is asked for."""

    options: Options
    renderer: Renderer | None
    image: Image | None
    """What the clips begin with."""

    def __call__(self, clip: Clip, job: Job) -> None:
        library = Library(self.options.library)
        try:
            library.keep(clip, job.path)
        except OutputError as error:
            say(f"note: not kept in the library: {error}")
        if self.renderer:
            preview = dataclasses.replace(as_preview(clip), image=self.image)
            overwrite, as_json = self.options.overwrite, self.options.json
            options = RenderOptions(job.path, overwrite=overwrite, json=as_json)
            write_render(self.renderer, preview, job.path, job.render_path, options, job.request.seed, {})


def _make(
    make: Callable[[Request, Progress], Clip],
    jobs: list[Job],
    options: Options,
    loading: float,
    keep: Callable[[Clip, Job], None],
) -> int:
    written = 0
    try:
        for job in jobs:
            with StageProgress() as progress:
                clip = make(job.request, progress)
                progress("write", 0, 1)
                began = time.perf_counter()
                clip.save(job.path, options.overwrite)
                saved = round(time.perf_counter() - began, 3)
                progress("write", 1, 1)
            written += 1
            # Weights are loaded once, for all clips: the first one bears it.
            before = {} if written > 1 else {"load": loading}
            _tell(clip, job.path, {**before, **clip.timings, "write": saved}, options.json)
            keep(clip, job)
    except KeyboardInterrupt:
        if not written:
            raise
        say(f"stopped; {written} of {len(jobs)} clips were written before, nothing of the next")
        return EXIT_STOPPED
    return 0


def _tell(clip: Clip, path: Path, timings: Mapping[str, float], as_json: bool) -> None:
    recipe = clip.recipe
    if not as_json:
        spent = sum(timings.values())
        line = f"{path}  {clip.seconds:g} s, {recipe['size']}, seed {recipe['seed']}, made in {spent:.1f} s"
    else:
        facts = {key: recipe[key] for key in ("prompt", "seed", "seconds", "size", "model", "steps")}
        sound = {"fps": clip.fps, "sample_rate": clip.sample_rate}
        line = json.dumps({"path": str(path), **facts, **sound, "timings": timings}, ensure_ascii=False)
    print(line, flush=True)


def make_jobs(
    options: Options, recipe: Mapping[str, Any], sampling: Sampling, given: Given, longer: Longer | None
) -> list[Job]:
    """Every clip that is asked for, checked. Raises a HappyhorseError for the first that cannot be made."""
    if not 1 <= options.count <= COUNT_MAX:
        raise ConfigError(f"--count {options.count} is out of range; it may be 1 to {COUNT_MAX}")
    if options.size and options.aspect:
        raise ConfigError("give --size or --aspect, not both")
    prompts = read_prompts(options, recipe)
    seed = options.seed if options.seed is not None else recipe.get("seed")
    seed = secrets.randbelow(SEED_MAX - COUNT_MAX) if seed is None else seed
    asked = {
        "negative": _first(options.negative, recipe.get("negative"), ""),
        # With --extend the length is that of all windows together, and a window has the model's own.
        "seconds": None
        if longer
        else _first(options.seconds, recipe.get("seconds"), given.seconds(sampling.seconds_max)),
        "size": _first(options.size, options.aspect, None if options.image or options.video else recipe.get("size")),
        "steps": _first(options.steps, recipe.get("steps")),
        "guidance": _first(parse_guidance(options.guidance), _pair(recipe.get("guidance"))),
        "sampler": recipe.get("sampler"),
        "shift": recipe.get("shift"),
        "image_aspect": longer.start.film.aspect if longer else given.aspect,
    }
    requests = [
        make_request(sampling, prompt, seed=seed + index, **asked)
        for prompt in prompts
        for index in range(options.count)
    ]
    given.check(requests[0].shape)
    jobs = [Job(*job) for job in zip(requests, output_paths(options.output, requests), strict=True)]
    for job in jobs:
        check_output(job.path, options.overwrite)
        if options.render is not None:
            check_output(job.render_path, options.overwrite)
    return jobs


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _pair(weights: list | None) -> tuple | None:
    return None if weights is None else tuple(weights)


def parse_guidance(text: str | None) -> float | tuple[float, float] | None:
    """ "4" to 4.0, "4,2.5" to (4.0, 2.5). Raises ConfigError for anything else."""
    if text is None:
        return None
    try:
        weights = [float(part) for part in text.split(",")]
        return weights[0] if len(weights) == 1 else (weights[0], weights[1])
    except (ValueError, IndexError) as error:
        raise ConfigError(f"--guidance {text!r} is not a number; give W, or two as PICTURE,SOUND") from error


def read_prompts(options: Options, recipe: Mapping[str, Any]) -> list[str]:
    """The prompts asked for. Raises PromptError if there is none, or MediaError if their file is unreadable."""
    if options.prompt is not None and options.prompts is not None:
        raise PromptError("give a prompt or --prompts FILE, not both")
    if options.prompts is not None:
        return _prompt_lines(options.prompts)
    if options.prompt is not None:
        return [options.prompt]
    if "prompt" in recipe:
        return [recipe["prompt"]]
    raise PromptError('say what to make: happyhorse generate "a red ball bounces on wood"')


def _prompt_lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > PROMPT_FILE_BYTES_MAX:
            raise MediaError(f"{path} is larger than {PROMPT_FILE_BYTES_MAX >> 20} MiB; split it")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MediaError(f"{path} was not found or may not be read; check the path") from error
    except UnicodeDecodeError as error:
        raise MediaError(f"{path} is not UTF-8 text; give one prompt per line") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise PromptError(f"{path} holds no prompt; give one per line")
    return lines


def output_paths(output: Path | None, requests: Sequence[Request | PublicRequest]) -> list[Path]:
    """One path per request: NAME-1.mp4, NAME-2.mp4, ... for several; named by prompt and seed if no name was given."""
    if output is None or output.is_dir():
        paths = [(output or Path()) / f"{slug(request.prompt)}-{request.seed}.mp4" for request in requests]
        return _distinct(paths)
    if output.suffix.lower() != ".mp4":
        raise OutputError(f"{output} does not end in .mp4, the only format that is written; name it {output}.mp4")
    if len(requests) == 1:
        return [output]
    return [output.with_stem(f"{output.stem}-{number}") for number in range(1, len(requests) + 1)]


def _distinct(paths: list[Path]) -> list[Path]:
    """Prompts that differ only in what a file name leaves out get a number."""
    seen: dict[Path, int] = {}
    result = []
    for path in paths:
        seen[path] = seen.get(path, 0) + 1
        result.append(path if seen[path] == 1 else path.with_stem(f"{path.stem}-{seen[path]}"))
    return result


def slug(prompt: str) -> str:
    """A prompt as a file name: words of any script joined by hyphens, at most 60 bytes, never empty."""
    words = re.findall(r"\w+", prompt.lower())
    name = "-".join(words).encode()[:NAME_LENGTH].decode(errors="ignore").strip("-_")
    return name or "clip"


def like_recipe(options: Options) -> dict[str, Any]:
    """The recipe to repeat, {} if none is asked for. Raises MediaError if the clip holds none or a damaged one."""
    if options.like is None:
        return {}
    recipe = read_recipe(options.like)
    for key, kinds in RECIPE_TYPES.items():
        if key in recipe and (not isinstance(recipe[key], kinds) or isinstance(recipe[key], bool)):
            raise MediaError(f"the recipe in {options.like} is damaged: {key} is {recipe[key]!r}")
    return recipe


@dataclasses.dataclass(frozen=True)
class Longer:
    """A clip that goes on, and how long it becomes."""

    start: Start
    seconds: float


def load_longer(options: Options, recipe: Mapping[str, Any], sampling: Sampling) -> Longer | None:
    """The clip to go on from, if one is given or in the recipe; unless asked otherwise, as much again as a clip has."""
    start = _medium("extend", load_start, options, recipe)
    if start is None:
        return None
    asked = _first(options.seconds, None if options.extend else recipe.get("seconds"))
    longer = Longer(start, start.seconds + sampling.seconds if asked is None else asked)
    check_length(start, longer.seconds)
    return longer


LOADERS = {"image": load_image, "last_image": load_image, "audio": load_sound, "video": load_film}
"""How to read the media that may be given, by the names of their options and in recipes."""
MEDIA_WORDS = {"last_image": "last image", "extend": "clip"}
"""What people call them, where that is not their option."""


def load_given(options: Options, recipe: Mapping[str, Any]) -> Given:
    """The media of the options, and those of the recipe that no option replaces."""
    return Given(**{name: _medium(name, load, options, recipe) for name, load in LOADERS.items()})


def _medium(name: str, load: Callable[[Any], Any], options: Options, recipe: Mapping[str, Any]) -> Any:
    """The medium of an option, else that of the recipe. Raises MediaError if that one is gone or has changed."""
    path, source = getattr(options, name), recipe.get(name)
    if path is not None:
        return load(path)
    if not isinstance(source, dict):
        return None
    medium = None
    with contextlib.suppress(MediaError):
        medium = load(str(source.get("path")))
    if medium is None or medium.source["sha256"] != source.get("sha256"):
        made = f"{options.like} was made from the {MEDIA_WORDS.get(name, name)} {source.get('path')}"
        raise MediaError(f"{made}, not found: give it by --{name.replace('_', '-')}")
    return medium


def _note_differences(recipe: Mapping[str, Any], weights: str) -> None:
    if recipe.get("weights") != weights:
        say("note: that clip was made with other weights; the new one will differ")
    elif recipe.get("happyhorse") != __version__:
        say(f"note: that clip was made by happyhorse {recipe.get('happyhorse')}; this is {__version__}: it may differ")


def _note_unknown_words(model: str, jobs: list[Job]) -> None:
    if model != "foal":
        return
    from happyhorse.data.scenes.known_prompts import note_for

    for note in dict.fromkeys(note_for(job.request.prompt) for job in jobs):
        if note:
            print(note, file=sys.stderr)
