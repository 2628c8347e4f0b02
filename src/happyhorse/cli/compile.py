"""``happyhorse compile``: packages of compiled code for a model, ahead of time."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from happyhorse.cli.main import say
from happyhorse.cli.progress import StageProgress
from happyhorse.codecs.text import Tokenizer
from happyhorse.compile import artefacts
from happyhorse.compile.accelerate import Accelerated, Packages, abis, accelerate, parts
from happyhorse.compile.capture import Form, Free
from happyhorse.compile.choose import spec_of
from happyhorse.compile.compare import difference
from happyhorse.config import ModelConfig
from happyhorse.device import find_device
from happyhorse.errors import CompileError, SizeError
from happyhorse.flow.guidance import GuidanceScale
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.compiled import sharing
from happyhorse.sampling.pipeline import draw_noise, load_part
from happyhorse.sampling.request import Sampling, check_seconds, choose_size
from happyhorse.types import ClipShape
from happyhorse.weights.registry import resolve

PROMPT, NOTHING = "a red ball bounces on wood", ""
TOLERANCE = {"as-is": 1e-4, "onednn": 1e-4, "bf16": 0.1, "int8": 0.2, "fp8": 0.3}
"""Largest difference from the plain model, of the largest number."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """The command line, as given."""

    model: str = "foal"
    sizes: tuple[str, ...] = ()
    fastest: bool = False
    guided: bool = False
    device: str | None = None
    overwrite: bool = False
    json: bool = False


@dataclasses.dataclass(frozen=True)
class Made:
    """One package."""

    path: Path
    bytes: int
    build: float
    """Seconds; 0 if it was there already."""
    load: float
    """Seconds."""
    clips: str
    """What it is for."""
    error: float
    """Largest difference from the plain model at the sizes that were compared, of the largest number."""
    sizes: tuple[str, ...]


def compile_model(asked: Asked) -> None:
    """Makes the packages that a model's clips need, compares them with the plain model and prints a line for each.

    Raises WeightsError for an unknown model, SizeError for sizes that it does not make, MissingToolError without a
    compiler, CompileError if the model cannot be compiled or its numbers are not the plain model's.
    """
    found, device = resolve(asked.model), find_device(asked.device)
    sampling = Sampling.from_dict(found.manifest.sampling_of(found.generator))
    shapes = {text: parse_shape(text, sampling) for text in asked.sizes or default_sizes(sampling)}
    plain = load_part(found.folder, found.manifest, found.generator, Transformer, ModelConfig).to(device)
    forms = [Form(2, True)] if guided(sampling) else [Form(1, False)]
    if asked.guided and Form(2, True) not in forms:
        forms.append(Form(2, True))
    for form in forms:
        tell(make(plain, form, shapes, asked, device), asked.json)


def guided(sampling: Sampling) -> bool:
    return not GuidanceScale(sampling.guidance_video, sampling.guidance_audio).is_plain


def default_sizes(sampling: Sampling) -> list[str]:
    """The model's usual clip."""
    return [f"{sampling.seconds:g}s@{sampling.sizes[0]}"]


def parse_shape(text: str, sampling: Sampling) -> ClipShape:
    """ "5s@128x128" as a shape. Raises SizeError if it is not of this form, or not one that the model makes."""
    seconds, at, size = text.partition("s@")
    try:
        length = float(seconds)
    except ValueError:
        at, length = "", 0.0
    if not at:
        raise SizeError(f"{text!r} is not a clip; write SECONDSs@WIDTHxHEIGHT such as 5s@128x128")
    check_seconds(sampling, length)
    width, height = choose_size(sampling, size)
    return ClipShape(length, height, width)


def make(plain: Transformer, form: Form, shapes: dict[str, ClipShape], asked: Asked, device: torch.device) -> Made:
    """Builds or finds the package for a form of pass, and compares it at every shape."""
    spec = spec_of("max" if asked.fastest else "auto", plain.config, device)
    fast = accelerate(sharing(plain), spec, otherwise=plain)
    (abi,) = abis(fast.plain, spec, form, device)
    if asked.overwrite and (path := artefacts.packages_folder() / f"{abi.key}{artefacts.SUFFIX}").exists():
        path.unlink()
    packages = Packages(plain.config, spec, build=True, tell=say)
    fast.engine, build = packages, 0.0
    with StageProgress() as progress, torch.inference_mode():
        if artefacts.find(abi) is None:
            say("compiling; this takes a minute or so")
            progress("compile", 0, 1)
            began = time.perf_counter()
            load_all(packages, *parts(fast.plain, spec, form, device))
            build = time.perf_counter() - began
            progress("compile", 1, 1)
        began = time.perf_counter()
        load_all(packages, *parts(fast.plain, spec, form, device))
        load = time.perf_counter() - began
        errors = []
        for text, shape in shapes.items():
            errors.append(measured_error(fast, plain, form, shape, device))
            progress("compare", len(errors), len(shapes))
            if not errors[-1] < TOLERANCE[spec.linear]:
                raise CompileError(f"at {text} the package is off by {errors[-1]:.0e} from the plain model: unfit")
    path = artefacts.find(abi)
    assert path is not None
    clips = "clips with guidance" if form.batch == 2 else "clips"
    return Made(path, path.stat().st_size, build, load, clips, max(errors), tuple(shapes))


def load_all(packages: Packages, modules: list[nn.Module], tensors: list[Tensor], free: Free) -> None:
    """Loads the packages of these modules, after building what is not there."""
    for module in modules:
        packages.graph(module, tensors, free)


def measured_error(fast: Accelerated, plain: Transformer, form: Form, shape: ClipShape, device: torch.device) -> float:
    """Largest difference of the velocities, of the largest velocity. Raises CompileError if it is not compiled."""
    noise = draw_noise(shape, torch.Generator().manual_seed(0)).map(lambda x: torch.cat([x] * form.batch).to(device))
    text: Any = Tokenizer.load().batch([PROMPT, NOTHING][: form.batch]).to(device)
    text = plain.encode_text(text) if plain.config.text == "tokens" else text
    one, other = fast(noise, text), plain(noise, text)
    if fast.why:
        asked = f"{shape.seconds:g} s at {shape.width}x{shape.height}"
        raise CompileError(f"the package does not serve {asked}: {fast.why}")
    return difference(one, other)


def tell(made: Made, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**dataclasses.asdict(made), "path": str(made.path)}), flush=True)
        return
    took = f"compiled in {made.build:.0f} s" if made.build else "there already"
    what = f"{made.path}  {made.bytes >> 10} KiB, for {made.clips}, {took}, loads in {1000 * made.load:.0f} ms"
    print(f"{what}, within {made.error:.0e} of the plain model at {', '.join(made.sizes)}", flush=True)
