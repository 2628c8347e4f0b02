"""Trains a super-resolution model: ``happyhorse train foal-superres``.

Flow matching between the noised, enlarged preview and the render (``sampling/superres.py``). Its folder holds pairs/
(scenes drawn twice), superres/ (checkpoints) and, in the end, superres.safetensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from happyhorse.codecs.codec import TextCoder
from happyhorse.codecs.text import Tokenizer
from happyhorse.compile.machine import can_compile, has_fast_bfloat16
from happyhorse.compile.training import compile_for_training
from happyhorse.data.pairs import PairBatch, Pairs, fill_pairs
from happyhorse.device import best_device, find_device
from happyhorse.flow import path, timesteps
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.superres import SuperresConfig
from happyhorse.sampling.superres import starting_point
from happyhorse.training.build import LANGUAGE_HEAD
from happyhorse.training.fit import Work, fit
from happyhorse.training.machine import prepare_machine
from happyhorse.training.run import EXIT_INTERRUPTED, cache_progress, find_codecs, printer
from happyhorse.training.stop import Stop, Stopped
from happyhorse.types import ClipShape, Known, Latents
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import load_module, save_module, verified

TEXT_MULTIPLE = 32
SHIFT = 3.0
"""Of the uniform levels that are drawn: sampling takes few steps, and those are near the start."""


def train_superres(
    config: SuperresConfig,
    folder: Path,
    minutes: float | None = None,
    device: str | None = None,
    report: Callable[[str], None] | None = None,
    pairs: Path | None = None,
) -> int:
    """Trains into ``folder``; returns 0 when it is done or paused, 130 after Ctrl-C.

    ``pairs`` is a folder of pairs; ``folder / "pairs"`` unless given.
    """
    chosen, stop, report = find_device(device, best_device()), Stop(minutes), report or printer()
    prepare_machine(chosen)
    folder.mkdir(parents=True, exist_ok=True)
    with stop.listening():
        try:
            source = make_pairs(config, pairs or folder / "pairs", chosen, stop, report)
            model = make_model(config, chosen)
            loss = Loss(config, model, source, Tokenizer.load(), chosen)
            fit("superres", model, loss, config.fit, Work(folder, config.seed, stop, report))
        except Stopped as stopped:
            report(f"{stopped}; run the same command again to go on")
            return EXIT_INTERRUPTED if stop.interrupted else 0
    plain = Transformer(config.model)  # what was trained multiplies in this machine's fast format
    plain.load_state_dict(model.state_dict())
    save_module(plain, folder / "superres.safetensors", torch.bfloat16)
    report(f"done: {folder / 'superres.safetensors'}")
    return 0


def make_pairs(
    config: SuperresConfig, folder: Path, device: torch.device, stop: Stop, report: Callable[[str], None]
) -> Pairs:
    """The pairs of a run; what is missing is made first."""
    shape = ClipShape(config.seconds, config.side, config.side)
    progress = cache_progress("pairs", stop, report)
    codecs = find_codecs(None, device)
    fill_pairs(folder, config.clips, shape, config.enlarging, codecs, device, config.seed, progress)
    return Pairs(folder, config.prompt_dropout)


def make_model(config: SuperresConfig, device: torch.device) -> Transformer:
    """The model at step 0."""
    torch.manual_seed(config.seed)
    dtype = "bfloat16" if has_fast_bfloat16(device) else "float32"
    model = Transformer(config.model.replace(matmul_dtype=dtype))
    if config.init:
        teacher = resolve(config.init)
        load_module(model, verified(teacher.folder, teacher.manifest, teacher.generator), optional=LANGUAGE_HEAD)
    model = model.to(device)
    if config.compile and can_compile(device):
        compile_for_training(model)
    return model


class Loss:
    """The loss of a step, as ``fit`` asks for it."""

    def __init__(
        self, config: SuperresConfig, model: Transformer, source: Pairs, text: TextCoder, device: torch.device
    ) -> None:
        self.config, self.model, self.source, self.text, self.device = config, model, source, text, device

    def __call__(self, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        windows = self.config.windows
        window = windows[int(torch.randint(len(windows), (), generator=generator))]
        batch = self.source.batch(window.frames, window.side, window.batch, generator)
        text = self.text.batch(batch.prompts).padded(TEXT_MULTIPLE).to(self.device)
        known = draw_known(batch, self.config.first_frame, generator).to(self.device)
        times = timesteps.shift(torch.rand(window.batch, generator=generator), SHIFT).to(self.device)
        noise = torch.randn(batch.enlarged.shape, generator=generator).to(self.device)
        start = starting_point(batch.enlarged.to(self.device), noise, self.config.enlarging.kept)
        clean = batch.clean.to(self.device)
        noisy = known.paste(Latents(path.noisy(clean.video, start, times), clean.audio))
        velocity = self.model(noisy, text).video
        unknown = (~known.video_mask)[:, None, :, None, None].float()
        errors = (velocity - path.velocity(clean.video, start)).square() * unknown
        loss = errors.sum() / (unknown.sum() * errors[0, :, 0].numel())
        return loss, {"loss": loss.item()}


def draw_known(batch: PairBatch, share: float, generator: torch.Generator) -> Known:
    """The sound of every window, and the first frame of some of those that begin their clip."""
    count, frames = batch.clean.video.shape[0], batch.clean.video.shape[2]
    given = (torch.rand(count, generator=generator) < share) & batch.begins
    video = given[:, None] & (torch.arange(frames) == 0)
    return Known(batch.clean, video, torch.ones(batch.clean.audio.shape[:2], dtype=torch.bool))
