"""From an order (which model or folder of clips, which suite, which ears and judges) to a run and its report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.scene import SAMPLE_RATE
from happyhorse.device import find_device
from happyhorse.errors import ConfigError, OutputError
from happyhorse.evaluation import instruments, recognisers, suites
from happyhorse.evaluation.instruments import Fitting
from happyhorse.evaluation.judge import Judge
from happyhorse.evaluation.measure import Bench
from happyhorse.evaluation.page import sheets, write_page
from happyhorse.evaluation.plots import plots
from happyhorse.evaluation.readings import Instruments
from happyhorse.evaluation.record import Records
from happyhorse.evaluation.report import Report, make_report
from happyhorse.evaluation.run import Run
from happyhorse.evaluation.source import FolderSource, ModelSource, Settings, Source
from happyhorse.evaluation.speech import SpeechMatcher
from happyhorse.evaluation.suites import Suite
from happyhorse.evaluation.synchformer import SynchformerJudge
from happyhorse.evaluation.syncnet import SyncNetJudge
from happyhorse.files import make_folder, whole_file
from happyhorse.sampling.pipeline import Pipeline, Progress
from happyhorse.training.run import find_codecs
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import Manifest

DEFAULT = "foal"
LANDMARK = "run.json"
"""Says whose evaluation a folder holds."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What to measure, and with what."""

    model: str | None = None
    """A model's name or folder; the foal unless given."""
    clips: Path | None = None
    """A folder of clips, instead of a model."""
    suite: str = "foal-quick"
    steps: int | None = None
    """Denoising steps; the model's default unless given."""
    guidance: float | tuple[float, float] | None = None
    """Weight of the prompt, or weights for picture and sound; the model's default unless given."""
    recognisers: tuple[str, ...] = ()
    """Names of recognisers beside foal-asr."""
    syncnet: Path | None = None
    """SyncNet's weights."""
    synchformer: Path | None = None
    """A checkout of Synchformer with its weights."""
    device: str | None = None

    @property
    def name(self) -> str:
        """Name of the model or of the folder of clips."""
        return self.clips.resolve().name if self.clips else Path(self.model or DEFAULT).name


def evaluate(order: Order, folder: Path, overwrite: bool = False, on_progress: Progress | None = None) -> Report:
    """Makes and measures what is not in ``folder`` yet, and writes report.json and report.html there.

    ``on_progress(stage, done, total)`` hears of the stages of a clip, of "fit" (the instruments, once on a machine) and
    of "cases". Raises ConfigError for an order that contradicts itself or an unknown suite, WeightsError, MediaError
    or MissingToolError for a model, clips or a recogniser that cannot be used, OutputError if ``folder`` cannot be
    written or holds another evaluation and ``overwrite`` is not given.
    """
    if order.clips and order.model:
        raise ConfigError("give a model or --clips, not both")
    tell = on_progress or (lambda stage, done, total: None)
    run = prepare(order, suites.load_suite(order.suite), folder, overwrite, tell)
    measured = run.cases(lambda done, total: tell("cases", done, total))
    report = make_report(run.facts(), measured)
    with whole_file(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    write_page(folder / "report.html", report, plots(report), sheets(measured, folder))
    return report


def prepare(order: Order, suite: Suite, folder: Path, overwrite: bool, tell: Progress) -> Run:
    """Everything that a run needs, checked before anything long begins, and its folder claimed."""
    ears, judges = recognisers.recognisers(order.recognisers), open_judges(order)
    source, codecs, device = open_source(order, suite, folder, tell)
    claim(folder, {"suite": suite.name, **source.facts}, overwrite)
    known, fitting = instruments.user_cache() / "suites" / suite.name, Fitting(seconds=suite.seconds)
    make_folder(folder / "records")
    make_folder(known)
    fitted = instruments.cached_instruments(fitting, progress=lambda done, total: tell("fit", done, total))
    matcher = SpeechMatcher(round(suite.seconds * SAMPLE_RATE))
    manifest = resolve(order.model or DEFAULT).manifest
    encoders = manifest.files["video"]["sha256"] + manifest.files["audio"]["sha256"]
    return Run(
        suite=suite,
        source=source,
        bench=Bench(suite.size, Instruments(fitted, matcher, recognisers=ears, judges=judges), codecs, device),
        made=Records(folder / "records"),
        known=Records(known),
        tools=(encoders, instruments.fingerprint(fitting), *(one.fingerprint for one in (*ears, *judges))),
        embedder=embedder(manifest),
    )


def embedder(manifest: Manifest) -> str:
    """Whose codecs the embeddings are of: the foal's are the foal's in any folder, so that its variants compare."""
    foal = resolve(DEFAULT).manifest
    same = all(manifest.files[role]["sha256"] == foal.files[role]["sha256"] for role in ("video", "audio"))
    return foal.name if same else manifest.name


def open_judges(order: Order) -> tuple[Judge, ...]:
    """The judges whose weights are given."""
    judges: list[Judge] = []
    if order.syncnet:
        judges.append(SyncNetJudge(order.syncnet))
    if order.synchformer:
        judges.append(SynchformerJudge(order.synchformer))
    return tuple(judges)


def open_source(order: Order, suite: Suite, folder: Path, tell: Progress) -> tuple[Source, Codecs, torch.device]:
    """Where the clips come from, with the codecs to compare them with and the device that these are on."""
    device = find_device(order.device)
    if order.clips:
        return FolderSource(order.clips, suite.plans()), find_codecs(None, device), device
    pipeline = Pipeline.from_pretrained(order.model or DEFAULT, device)
    source = ModelSource(pipeline, folder / "clips", suite.size, Settings(order.steps, order.guidance), tell)
    source.request(suite.plans()[0], "")  # refuses here, not after the instruments are made, what cannot be asked for
    return source, Codecs(pipeline.parts.video, pipeline.parts.audio), device


def claim(folder: Path, facts: Mapping[str, Any], overwrite: bool) -> None:
    """Marks a folder as the place of one evaluation. Raises OutputError if it holds another and may not be replaced."""
    mark, wanted = folder / LANDMARK, json.loads(json.dumps(facts))
    held = _held(mark)
    if held and held != wanted and not overwrite:
        what = next((key for key in wanted if held.get(key) != wanted[key]), "source")
        raise OutputError(f"{folder} holds an evaluation with another {what}; give another --out, or --overwrite")
    make_folder(folder)
    with whole_file(mark) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1) + "\n", "utf-8")


def _held(mark: Path) -> dict[str, Any]:
    """What a folder was claimed for; nothing if it was not, or if its mark is damaged."""
    try:
        found = json.loads(mark.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
