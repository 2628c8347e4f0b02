"""A run from its name to its weights: ``happyhorse train foal``.

A run folder holds recipe.json (what was asked for), checkpoint-*.pt (the newest two), log.jsonl, samples/, cache/ and
base.safetensors: the averaged weights, written whenever the run ends or pauses.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from happyhorse.codecs.codec import Codecs, TextCoder
from happyhorse.data.batch import Source
from happyhorse.data.shards import LatentDataset, cache, shape_name
from happyhorse.data.stream import SceneStream
from happyhorse.device import best_device, find_device
from happyhorse.errors import ConfigError, WeightsError
from happyhorse.files import whole_file
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.foal import recipe
from happyhorse.recipes.recipe import CacheSet, TrainConfig
from happyhorse.training import checkpoint
from happyhorse.training.budget import fit_to_minutes
from happyhorse.training.build import LANGUAGE_HEAD, make_state
from happyhorse.training.checkpoint import TrainState
from happyhorse.training.loop import Job, clock_words, train_loop
from happyhorse.training.machine import prepare_machine
from happyhorse.training.meters import trim_records
from happyhorse.training.samples import SampleWriter
from happyhorse.training.stop import DONE, INTERRUPTED, Stop, Stopped
from happyhorse.weights.store import load_module, save_module

EXIT_INTERRUPTED = 130
Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """What is asked of a run beside its recipe."""

    out: Path
    resume: bool = True
    device: torch.device | None = None
    minutes: float | None = None
    """Pause, resumable, after this long."""
    scale: int | None = None
    """Factor of the batch; 1 on a CPU and the recipe's ``gpu_scale`` on a GPU unless given."""
    steps: int | None = None
    """Total steps, if not the recipe's."""
    budget: float | None = None
    """Minutes of training to fit the steps into, measured on this machine when the run starts."""
    codecs: Path | None = None
    """Folder of video.safetensors and audio.safetensors; the shipped codecs unless given."""
    cache: Path | None = None
    """Folder of cached latents; ``out / "cache"`` unless given."""
    init: Path | None = None
    """Weights to start from, instead of random ones; the optimiser starts anew."""
    online: bool = False
    """Draw scenes on the fly instead of caching latents."""
    compile: bool | None = None
    """Compile the model; as the recipe says unless given."""
    recompute: str | None = None
    """What the backward pass makes again, "none", "cheap" or "full"; as the recipe says unless given."""


def train(
    name: str,
    out: Path | str,
    *,
    resume: bool = True,
    device: str | torch.device | None = None,
    minutes: float | None = None,
    report: Report | None = None,
    **options: Any,
) -> int:
    """Trains the recipe ``name`` in the folder ``out``; returns 0 when it is done or paused, 130 after Ctrl-C.

    Further keyword arguments are the fields of ``Options``. Raises ConfigError for an unknown recipe or device or a
    folder that holds another run, WeightsError if codecs or cached latents are missing or do not fit.
    """
    chosen = find_device(device, best_device())
    settings = Options(Path(out), resume, chosen, minutes, **options)
    if settings.init and not settings.init.is_file():
        raise WeightsError(f"{settings.init} does not exist; give the weights of a run, its base.safetensors")
    prepare_machine(chosen)
    return run(configure(recipe(name), settings), settings, report or printer())


def printer() -> Report:
    """Prints at once, even into a file."""
    return lambda line: print(line, flush=True)


def configure(config: TrainConfig, options: Options) -> TrainConfig:
    """The recipe at the run's scale and length; a resumed run keeps what it was started with."""
    stored = _stored_dials(options.out) if options.resume else {}
    on_gpu = options.device is not None and options.device.type != "cpu"
    scale = options.scale or stored.get("scale") or (config.gpu_scale if on_gpu else 1)
    steps = options.steps or stored.get("steps") or config.steps
    config = config.scaled(scale)
    config = config if options.compile is None else config.replace(compile=options.compile)
    config = config if options.recompute is None else config.replace(recompute=options.recompute)
    if options.budget and not stored:
        config = fit_to_minutes(config, options.budget, options.device or torch.device("cpu"))
        steps = config.steps
    config = config.with_steps(steps)
    options.out.mkdir(parents=True, exist_ok=True)
    values = {"name": config.name, "scale": scale, "steps": steps, "recipe": dataclasses.asdict(config)}
    with whole_file(options.out / "recipe.json") as path:
        path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    return config


def _stored_dials(folder: Path) -> dict[str, int]:
    path = folder / "recipe.json"
    if not path.exists() or not checkpoint.checkpoints(folder):
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is damaged; remove it and name the run's scale and steps again") from error


def run(config: TrainConfig, options: Options, report: Report) -> int:
    """Builds everything, trains, writes the weights."""
    device = options.device or torch.device("cpu")
    from happyhorse.codecs.text import Tokenizer

    text = Tokenizer.load()
    stop = Stop(options.minutes)
    with stop.listening():
        codecs = find_codecs(options.codecs, device)
        try:
            source = make_source(config, options, codecs, stop, report)
        except Stopped as stopped:
            report(f"{stopped} while encoding scenes; run the same command again to go on")
            return EXIT_INTERRUPTED if stop.interrupted else 0
        state = make_state(config, device)
        resumed = options.resume and checkpoint.restore(options.out, state, config.fingerprint)
        if not resumed:
            checkpoint.remove(options.out)
        trim_records(options.out / "log.jsonl", state.step)
        if options.init and not resumed:
            start_from(options.init, state)
        verb = f"resuming at step {state.step}" if resumed else "training"
        report(f"{verb}: {config.name}, {config.steps} steps on {device}, in {options.out}")
        writer = make_writer(config, options, text, codecs, device)
        ending = train_loop(Job(config, source, text, options.out, device, stop, report, writer), state)
    export(options.out / "base.safetensors", config, state)
    return conclude(ending, state.step, config.steps, state.seconds, report)


def start_from(weights: Path, state: TrainState) -> None:
    """Gives a fresh run the weights of another one."""
    load_module(state.model, weights, optional=LANGUAGE_HEAD)
    state.average.restart()


def conclude(ending: str, step: int, steps: int, seconds: float, report: Report, unit: str = "step") -> int:
    """Says how a run ended and how to go on; returns the exit code."""
    if ending == DONE:
        report(f"done: {step} {unit}s in {clock_words(seconds)}")
        return 0
    report(f"{ending} at {unit} {step} of {steps}; run the same command again to go on")
    return EXIT_INTERRUPTED if ending == INTERRUPTED else 0


def find_codecs(folder: Path | None, device: torch.device) -> Codecs:
    """The codecs of a folder, or the shipped ones."""
    from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
    from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
    from happyhorse.weights.registry import resolve
    from happyhorse.weights.store import load_config

    place = folder or resolve("foal").folder

    def load(role: str, kind: Any, config: Any) -> Any:
        path = place / f"{role}.safetensors"
        if not path.is_file():
            raise WeightsError(f"{path} is missing; train the codecs first (happyhorse train foal-codec)")
        module = kind(load_config(config, path))
        load_module(module, path)
        return module.to(device).eval().requires_grad_(False)

    return Codecs(load("video", VideoCodec, VideoCodecConfig), load("audio", AudioCodec, AudioCodecConfig))


def make_source(config: TrainConfig, options: Options, codecs: Codecs, stop: Stop, report: Report) -> Source:
    """Cached latents, made first where they are missing, or scenes on the fly."""
    device = options.device or torch.device("cpu")
    if options.online:
        families = {entry.shape: entry.family for entry in config.caches}
        return SceneStream(codecs, device, config.seed, config.prompt_dropout, families=families)
    folder = options.cache or options.out / "cache"
    fill_cache(folder, config.caches, config.seed, codecs, device, stop, report)
    return LatentDataset(folder, config.seed, config.prompt_dropout, device)


def fill_cache(
    folder: Path,
    sets: Sequence[CacheSet],
    seed: int,
    codecs: Codecs,
    device: torch.device,
    stop: Stop,
    report: Report,
) -> None:
    """Makes the latents that are missing. Raises Stopped if there is a reason to stop; whole shards are kept."""
    for index, entry in enumerate(sets):
        cache(
            folder,
            entry.shape,
            entry.clips,
            codecs,
            seed=seed + 10_000_000 * (index + 1),
            family=entry.family,
            device=device,
            batch=8 if device.type == "cpu" else 64,
            progress=cache_progress(shape_name(entry.shape), stop, report),
        )


def cache_progress(name: str, stop: Stop, report: Report) -> Callable[[int, int], None]:
    """Reports every few seconds with the time left; a stop is heard after each batch, whole shards are kept."""
    started, first, last = time.monotonic(), 0, time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal first, last
        stop.check()
        now = time.monotonic()
        first = first or done
        if now - last > 10 or done == total:
            last = now
            left = (now - started) / max(1, done - first + 1) * (total - done)
            report(f"encoding {name}: {done}/{total} clips, {clock_words(left)} left")

    return progress


def make_writer(
    config: TrainConfig, options: Options, text: TextCoder, codecs: Codecs, device: torch.device
) -> SampleWriter:
    """Writes the recipe's sample prompts into ``samples/``."""
    channels = (config.model.video_channels, config.model.audio_channels)
    return SampleWriter(config.samples, channels, text, options.out / "samples", device, codecs)


def export(path: Path, config: TrainConfig, state: TrainState) -> None:
    """The averaged weights as bfloat16 safetensors, ready for a model folder."""
    plain = Transformer(config.model)  # what was trained may be configured for this machine's GPU
    with state.average.applied():
        plain.load_state_dict(state.model.state_dict())
    save_module(plain, path, torch.bfloat16, {"steps": str(state.step)})
