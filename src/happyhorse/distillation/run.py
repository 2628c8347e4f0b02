"""A distillation from its name to its weights: ``happyhorse distill foal``.

A run folder holds warm/ (checkpoints of the warm start), checkpoint-*.pt (the newest two), log.jsonl, and a candidate,
the student's averaged weights, for every checkpoint: the ruler chooses among them (``happyhorse evaluate``), not the
last step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from happyhorse.compile.machine import can_compile
from happyhorse.compile.training import compile_for_training
from happyhorse.data.shards import LatentDataset
from happyhorse.device import best_device, find_device
from happyhorse.distillation.distill import DistillState, Tasks, update
from happyhorse.distillation.roles import Roles, one_backbone, plain, three_networks
from happyhorse.distillation.warm import warm_up
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.distill import DistillConfig, distill_recipes
from happyhorse.training import checkpoint
from happyhorse.training.build import LANGUAGE_HEAD
from happyhorse.training.fit import Work
from happyhorse.training.loop import clock_words, due
from happyhorse.training.machine import prepare_machine
from happyhorse.training.meters import append_record, trim_records
from happyhorse.training.run import EXIT_INTERRUPTED, conclude, fill_cache, find_codecs, printer
from happyhorse.training.stop import DONE, Stop, Stopped
from happyhorse.weights.store import save_module

Report = Callable[[str], None]
Watch = Callable[[Path], Mapping[str, float]]
"""Looks at a candidate, a weight file, and tells figures of it for the log."""


def distill(
    name: str,
    out: Path | str,
    *,
    resume: bool = True,
    device: str | torch.device | None = None,
    minutes: float | None = None,
    latents: Path | None = None,
    scale: int | None = None,
    steps: int | None = None,
    compile: bool | None = None,
    report: Report | None = None,
    watch: Watch | None = None,
) -> int:
    """Distils by the recipe ``name`` in the folder ``out``; returns 0 when it is done or paused, 130 after Ctrl-C.

    ``latents`` is a folder of cached latents; ``out / "cache"`` unless given. ``scale`` multiplies the clips of an
    update, at the same rates: 1 on a CPU and the recipe's ``gpu_scale`` on a GPU unless given; ``steps`` are the
    updates, ``compile`` whether layers are compiled, if not as the recipe says. ``watch`` is called with every
    candidate, and what it tells goes into the log. Raises ConfigError for an unknown recipe or a folder that holds
    another run, WeightsError if the teacher cannot be read.
    """
    if name not in distill_recipes():
        raise ConfigError(f'recipe "{name}" is unknown; known are {", ".join(distill_recipes())}')
    chosen, folder, stop = find_device(device, best_device()), Path(out), Stop(minutes)
    config, report = distill_recipes()[name](), report or printer()
    config = config.scaled(scale or (1 if chosen.type == "cpu" else config.gpu_scale), steps)
    config = config if compile is None else config.replace(compile=compile)
    prepare_machine(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    with stop.listening():
        try:
            tasks = make_tasks(config, latents or folder / "cache", chosen, stop, report)
            roles = make_roles(config, chosen)
            if not resume:
                checkpoint.remove(folder / "warm")
            warm_up(roles, tasks, config, Work(folder, config.seed, stop, report))
        except Stopped as stopped:
            report(f"{stopped} before the first update; run the same command again to go on")
            return EXIT_INTERRUPTED if stop.interrupted else 0
        state = begin(roles, config, folder, resume)
        report(f"distilling: {config.name}, from update {state.step} to {config.stage.steps} on {chosen}, in {folder}")
        ending = distill_loop(state, tasks, config, folder, stop, report, watch)
    return conclude(ending, state.step, config.stage.steps, state.seconds, report, unit="update")


def make_tasks(config: DistillConfig, folder: Path, device: torch.device, stop: Stop, report: Report) -> Tasks:
    """Prompts and latents to begin with; what is not cached yet is made first."""
    from happyhorse.codecs.text import Tokenizer

    fill_cache(folder, config.caches, config.seed, find_codecs(None, device), device, stop, report)
    return Tasks(config, LatentDataset(folder, config.seed, 0.0, device), Tokenizer.load(), device)


def make_roles(config: DistillConfig, device: torch.device) -> Roles:
    """The roles, all at the teacher's weights."""
    torch.manual_seed(config.seed)
    teacher = load_teacher(config.teacher, device)
    roles = one_backbone(teacher, config.rank, config.recompute) if config.rank else three_networks(teacher)
    if config.compile and can_compile(device):
        for role in (roles.student, roles.real, roles.fake):
            if isinstance(role, Transformer):  # a stack on a backbone is not compiled: it changes what a layer does
                compile_for_training(role)
    return roles


def begin(roles: Roles, config: DistillConfig, folder: Path, resume: bool) -> DistillState:
    """The state of update 0, or of the folder's last checkpoint."""
    state = DistillState.begin(roles, config)
    if not (resume and checkpoint.restore(folder, state, config.fingerprint)):
        checkpoint.remove(folder)
    trim_records(folder / "log.jsonl", state.step)
    return state


def load_teacher(name: str, device: torch.device) -> Transformer:
    """The generator of a model folder, without its language head: students forget how to write captions."""
    from happyhorse.sampling.pipeline import load_parts
    from happyhorse.weights.registry import resolve

    model = load_parts(resolve(name), device).model
    assert isinstance(model, Transformer)
    mute = Transformer(model.config.replace(language_head=False)).to(device)
    mute.load_state_dict({name: value for name, value in model.state_dict().items() if name not in LANGUAGE_HEAD})
    return mute.float()


def distill_loop(
    state: DistillState,
    tasks: Tasks,
    config: DistillConfig,
    folder: Path,
    stop: Stop,
    report: Report,
    watch: Watch | None = None,
) -> str:
    """Updates until the last one, an interruption or the end of the time; returns which of them."""
    clock, sums, fresh = time.monotonic() - state.seconds, dict[str, float](), 0
    while True:
        # ------------------------------------------------------------------------------------------ once in a while
        state.seconds = time.monotonic() - clock
        ending = DONE if state.step == config.stage.steps else stop.reason()
        if fresh and (ending or due(state.step, config.log_every)):
            log(state, {name: value / fresh for name, value in sums.items()}, config, folder, report)
            sums, fresh = {}, 0
        if ending or (state.step and due(state.step, config.checkpoint_every)):
            candidate = keep(state, config, folder)
            if watch and ending in (None, DONE):
                log(state, watch(candidate), config, folder, report)
        if ending:
            return ending
        # ------------------------------------------------------------------------------------------------ one update
        for name, value in update(state, tasks, config).items():
            sums[name] = sums.get(name, 0.0) + value
        fresh += 1


def log(state: DistillState, figures: Mapping[str, float], config: DistillConfig, folder: Path, report: Report) -> None:
    """A record in log.jsonl and a line for people."""
    append_record(folder / "log.jsonl", {"step": state.step, "seconds": round(state.seconds, 1), **figures})
    left = state.seconds / state.step * (config.stage.steps - state.step)
    words = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    report(f"update {state.step}/{config.stage.steps}  {words}  {clock_words(left)} left")


def keep(state: DistillState, config: DistillConfig, folder: Path) -> Path:
    """A checkpoint, and the student's average as a candidate; returns the candidate."""
    checkpoint.save(folder, state, config.fingerprint)
    candidate = folder / f"student-{state.step:05d}.safetensors"
    with state.average.applied():
        save_module(plain(state.roles.student), candidate, torch.bfloat16)
    return candidate
