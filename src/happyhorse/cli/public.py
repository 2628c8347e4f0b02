"""``happyhorse generate --model magihuman-distill`` and ``render`` of what it made: the published models."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from happyhorse.cli.main import EXIT_STOPPED, say
from happyhorse.cli.progress import StageProgress
from happyhorse.cli.render import load_first_image, render_path
from happyhorse.clip import Clip
from happyhorse.device import best_device, find_device
from happyhorse.errors import ConfigError, MediaError, OutputError
from happyhorse.files import check_output
from happyhorse.library import Library
from happyhorse.memory.room import room_on
from happyhorse.sampling.given import Image
from happyhorse.sampling.public import PublicGiven, PublicPipeline, PublicPreview, load_given
from happyhorse.sampling.public_parts import GENERATORS, choose, kind_of, load_public, placement_for
from happyhorse.sampling.public_request import PublicRequest, make_public_request, sound_seconds
from happyhorse.sampling.published import Rendering
from happyhorse.sampling.request import SEED_MAX
from happyhorse.types import Latents
from happyhorse.weights.formats import check_format

if TYPE_CHECKING:
    from happyhorse.cli.generate import Options
    from happyhorse.cli.render import RenderOptions

FOAL_ONLY = ("last_image", "video", "extend", "loop", "guidance", "like")
"""Options that the published models have nothing for."""
RENDER = "540p"
"""What a render becomes unless a size is asked for."""


@dataclasses.dataclass(frozen=True)
class PublicJob:
    """One clip to be made and where it goes."""

    request: PublicRequest
    path: Path

    @property
    def render_path(self) -> Path:
        """Where its render goes."""
        return render_path(self.path)


def generate_public(options: Options, name: str) -> int:
    """Makes all clips that the options ask for and returns the exit code. Everything that can be refused is refused
    before the first one is started."""
    if unknown := [option for option in FOAL_ONLY if getattr(options, option)]:
        given = ", ".join(f"--{option.replace('_', '-')}" for option in unknown)
        raise ConfigError(f"{name} has nothing for {given}; leave it out, or use the foal")
    kind_of(name)
    check_format(options.format or "bf16")
    given = load_given(options.image, options.audio)
    jobs = list(make_jobs(options, name, given))
    for job in jobs:
        check_output(job.path, options.overwrite)
        if options.render:
            check_output(job.render_path, options.overwrite)
    device = find_device(options.device, best_device())
    pipeline = load_pipeline(name, jobs[0].request, given.image is not None, options.format or "bf16", device)
    for note in (*given.notes(jobs[0].request.shape), *jobs[0].request.notes()):
        say(f"note: {note}")
    return _make(pipeline, jobs, given, options)


def make_jobs(options: Options, name: str, given: PublicGiven) -> Iterator[PublicJob]:
    """Every clip that is asked for, checked. Raises a HappyhorseError for the first that cannot be made."""
    from happyhorse.cli.generate import COUNT_MAX, output_paths, read_prompts

    if not 1 <= options.count <= COUNT_MAX:
        raise ConfigError(f"--count {options.count} is out of range; it may be 1 to {COUNT_MAX}")
    if options.size and options.aspect:
        raise ConfigError("give --size or --aspect, not both")
    seed = secrets.randbelow(SEED_MAX - COUNT_MAX) if options.seed is None else options.seed
    requests = [
        make_public_request(
            prompt,
            GENERATORS[kind_of(name)],
            negative=options.negative,
            seconds=_seconds(options, given),
            size=options.size or options.aspect,
            render=render_wish(options.render),
            seed=seed + index,
            steps=options.steps,
            image_aspect=given.aspect,
        )
        for prompt in read_prompts(options, {})
        for index in range(options.count)
    ]
    for request, path in zip(requests, output_paths(options.output, requests), strict=True):
        yield PublicJob(request, path)


def _seconds(options: Options, given: PublicGiven) -> float | None:
    """As asked for, else as long as the sound in whole frames."""
    if options.seconds is not None or given.sound is None:
        return options.seconds
    return sound_seconds(given.sound.seconds)


def render_wish(asked: str | None) -> str | None:
    """ "--render" alone means 540p."""
    return RENDER if asked == "" else asked


def load_pipeline(
    name: str, request: PublicRequest, images: bool, number_format: str, device: torch.device
) -> PublicPipeline:
    """The models of a request in the fastest placement that fits, which is said."""
    choice = choose(name, request, number_format)
    placement = placement_for(choice, request, images, room_on(device))
    say(f"{name} on {device}: " + "; ".join(f"{seat.stage.name} {seat.describe()}" for seat in placement.seats))
    return load_public(choice, placement, device)


def _make(pipeline: PublicPipeline, jobs: list[PublicJob], given: PublicGiven, options: Options) -> int:
    written, library = 0, Library(options.library)
    try:
        for job in jobs:
            with StageProgress() as progress:
                clip = pipeline.make(job.request, given, progress)
                clip.save(job.path, options.overwrite)
            written += 1
            tell(clip, job.path, options.json)
            try:
                library.keep(clip, job.path)
            except OutputError as error:
                say(f"note: not kept in the library: {error}")
            if job.request.large:
                assert clip.latents is not None
                preview = PublicPreview(clip.latents, clip.audio, clip.recipe, given.image)
                write_render(pipeline, preview, job.request, job.path, job.render_path, options)
    except KeyboardInterrupt:
        if not written:
            raise
        say(f"stopped; {written} of {len(jobs)} clips were written before, nothing of the next")
        return EXIT_STOPPED
    return 0


def write_render(
    pipeline: PublicPipeline,
    preview: PublicPreview,
    request: PublicRequest,
    clip: Path,
    path: Path,
    options: Options | RenderOptions,
    settings: Rendering | None = None,
) -> None:
    """Renders ``preview``, the clip in the file ``clip``, into ``path`` with that file's sound, and says so."""
    assert request.large is not None
    with StageProgress() as progress:
        made = pipeline.render(preview, request.large, request.seed, settings or Rendering(), progress)
        made.save(path, options.overwrite, sound_of=clip)
    tell(made, path, options.json)


def tell(clip: Clip, path: Path, as_json: bool) -> None:
    """A line for what was written."""
    recipe = clip.recipe
    size = recipe["render"]["size"] if "render" in recipe else recipe["size"]
    if as_json:
        facts = {key: recipe[key] for key in ("prompt", "seed", "seconds", "model", "steps")}
        rates = {"size": size, "fps": clip.fps, "sample_rate": clip.sample_rate}
        line = {"path": str(path), **facts, **rates, "timings": dict(clip.timings)}
        print(json.dumps(line, ensure_ascii=False), flush=True)
    else:
        spent = sum(clip.timings.values())
        print(f"{path}  {clip.seconds:g} s, {size}, seed {recipe['seed']}, made in {spent:.1f} s", flush=True)


# -------------------------------------------------------------------------------------------------------------- render
def render_public(options: RenderOptions, recipe: Mapping[str, Any], path: Path) -> int:
    """Renders a clip of a published model and returns the exit code.

    Raises MediaError if its latents are not in the library: the published pipeline renders what it made.
    """
    name = str(recipe["model"])
    latents, audio, image = load_public_preview(options, recipe)
    request = make_public_request(
        recipe["prompt"],
        GENERATORS[kind_of(name)],
        seconds=recipe["seconds"],
        size=recipe["size"],
        render=options.size or RENDER,
        seed=recipe["seed"] if options.seed is None else options.seed,
    )
    for note in request.notes():
        say(f"note: {note}")
    check_output(path, options.overwrite)
    device = find_device(options.device, best_device())
    pipeline = load_pipeline(name, request, image is not None, options.format or "bf16", device)
    settings = Rendering() if options.steps is None else Rendering(steps=options.steps)
    write_render(pipeline, PublicPreview(latents, audio, recipe, image), request, options.clip, path, options, settings)
    return 0


def load_public_preview(options: RenderOptions, recipe: Mapping[str, Any]) -> tuple[Latents, Any, Image | None]:
    """Latents, sound and first image of a preview."""
    from happyhorse.codecs.media import read_mp4
    from happyhorse.sampling.render import check_recipe

    check_recipe(dict(recipe), str(options.clip))
    library = Library(options.library)
    entry = library.find(recipe)
    if entry is None:
        raise MediaError(
            f"the latents of {options.clip} are not in {library.folder}; make it again with its seed "
            "(happyhorse info shows it), and --render"
        )
    return entry.latents(), read_mp4(options.clip).audio, load_first_image(recipe)
