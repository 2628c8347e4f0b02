"""``happyhorse render``: a preview at four times its size, with its own sound."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from happyhorse.cli.compiling import make_compiling
from happyhorse.cli.main import say
from happyhorse.cli.progress import StageProgress
from happyhorse.clip import read_recipe
from happyhorse.codecs.media import read_mp4
from happyhorse.compile.choose import check_asked
from happyhorse.device import find_device
from happyhorse.errors import ConfigError, HappyhorseError, MediaError, OutputError, WeightsError
from happyhorse.files import check_output
from happyhorse.library import Library
from happyhorse.sampling.given import FPS, SAMPLE_RATE, Image, load_image
from happyhorse.sampling.render import Preview, Renderer, check_recipe, load_render_parts, render_shape
from happyhorse.types import Latents
from happyhorse.weights.registry import is_public, resolve


@dataclasses.dataclass(frozen=True)
class RenderOptions:
    """The command line, as given; None where an option was left out."""

    clip: Path
    output: Path | None = None
    model: str | None = None
    seed: int | None = None
    steps: int | None = None
    size: str | None = None
    """For clips of the published models: 540p, 720p, 1080p or WIDTHxHEIGHT."""
    format: str | None = None
    library: Path | None = None
    device: str | None = None
    compile: str | None = None
    overwrite: bool = False
    json: bool = False


def render_clip(options: RenderOptions) -> int:
    """Renders a clip and returns the exit code. What can be refused is refused before the weights are loaded."""
    path = options.output or render_path(options.clip)
    if path.suffix.lower() != ".mp4":
        raise OutputError(f"{path} does not end in .mp4, the only format that is written; name it {path}.mp4")
    recipe = read_recipe(options.clip)
    if is_public(str(recipe.get("model"))):
        from happyhorse.cli.public import render_public

        return render_public(options, recipe, path)
    check_asked(options.compile or "auto")
    if options.size or options.format:
        raise ConfigError("the foal renders at four times the size, in its own format; leave out --size and --format")
    preview = load_preview(options.clip, Library(options.library))
    check_output(path, options.overwrite)
    began = time.perf_counter()
    with StageProgress() as progress:
        progress("load", 0, 1)
        renderer = load_renderer(options, preview.recipe)
        render_shape(preview.shape, renderer.parts.settings.scale)
        progress("load", 1, 1)
    loading = round(time.perf_counter() - began, 3)
    seed = preview.recipe.get("seed", 0) if options.seed is None else options.seed
    write_render(renderer, preview, options.clip, path, options, seed, {"load": loading})
    return 0


def render_path(clip: Path) -> Path:
    """Where the render of a clip goes unless a name is given."""
    return clip.with_name(f"{clip.stem}-render.mp4")


def write_render(
    renderer: Renderer,
    preview: Preview,
    clip: Path,
    path: Path,
    options: RenderOptions,
    seed: int,
    before: Mapping[str, float],
) -> None:
    """Renders ``preview``, the clip in the file ``clip``, into ``path`` with that file's sound, and says so."""
    with StageProgress() as progress:
        made = renderer.render(preview, seed, options.steps, progress)
        progress("write", 0, 1)
        began = time.perf_counter()
        made.save(path, options.overwrite, sound_of=clip)
        timings = {**before, **made.timings, "write": round(time.perf_counter() - began, 3)}
        progress("write", 1, 1)
    size = made.recipe["render"]["size"]
    if options.json:
        print(json.dumps({"path": str(path), "preview": str(clip), "size": size, "timings": timings}), flush=True)
    else:
        print(f"{path}  {made.seconds:g} s, {size}, made in {sum(timings.values()):.1f} s", flush=True)


def load_renderer(options: RenderOptions, recipe: Mapping[str, Any]) -> Renderer:
    """The model that renders: the one that is asked for, else the one beside what made the preview."""
    device, name = find_device(options.device), options.model or str(recipe.get("model", "foal"))
    try:
        parts = load_render_parts(resolve(name), device)
    except WeightsError as error:
        if options.model:
            raise
        raise WeightsError(f"{options.clip} was made by {name}: {error} (--model)") from error
    return Renderer(parts, device, make_compiling(parts.model, options.compile, {}, 1))


def load_preview(path: Path, library: Library) -> Preview:
    """A preview from its file and what the library holds of it.

    Raises MediaError for a clip that is not ours, that is a render, or that shows a film that was given.
    """
    recipe = read_recipe(path)
    check_recipe(recipe, str(path))
    clip = read_mp4(path)
    if abs(clip.fps - FPS) > 0.01 or clip.sample_rate != SAMPLE_RATE:
        raise MediaError(f"{path} was changed: it has {clip.fps:g} frames a second; render the clip as it was made")
    preview = Preview(clip.frames, clip.audio[:1], recipe, image=load_first_image(recipe))
    _ = preview.shape
    return dataclasses.replace(preview, latents=load_latents(recipe, clip.frames.shape, library))


def load_latents(recipe: Mapping[str, Any], frames: tuple[int, ...], library: Library) -> Latents | None:
    """What the clip was decoded from, if it is in the library and fits the file."""
    entry = library.find(recipe)
    if entry is None:
        say(f"note: the latents of this clip are not in {library.folder}; its picture is encoded again")
        return None
    try:
        latents = entry.latents()
    except MediaError as error:
        say(f"note: {error}")
        return None
    height, width = (16 * side for side in latents.video.shape[3:])
    if (height, width) != frames[1:3]:
        say(f"note: the file has another size than the clip in {entry.folder}; its picture is encoded again")
        return None
    return latents


def load_first_image(recipe: Mapping[str, Any]) -> Image | None:
    """The picture that the preview begins with, if there was one and it is still there."""
    source = recipe.get("image")
    if not isinstance(source, dict) or not source.get("path"):
        return None
    try:
        image = load_image(source["path"])
    except HappyhorseError:
        image = None
    if image is None or image.source["sha256"] != source.get("sha256"):
        say(f"note: the image {source['path']} is not there any more; the render begins as the preview does")
        return None
    return image
