"""``happyhorse evaluate`` and ``happyhorse compare``: from options to a report, from two reports to a table."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from happyhorse.cli.generate import parse_guidance
from happyhorse.cli.main import say
from happyhorse.cli.progress import StageProgress
from happyhorse.device import find_device
from happyhorse.errors import ConfigError, MissingToolError, OutputError
from happyhorse.files import output_error, whole_file
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import read_manifest

if TYPE_CHECKING:
    import torch

    from happyhorse.codecs.codec import Codecs
    from happyhorse.evaluation.judge import Judge
    from happyhorse.evaluation.report import Report
    from happyhorse.evaluation.run import Measured, Run
    from happyhorse.evaluation.source import Source
    from happyhorse.evaluation.suites import Suite

TOOLS = ("jiwer", "skimage", "pyloudnorm", "matplotlib")
"""What the extra [eval] brings."""
SAMPLE_RATE = 24_000
LANDMARK = "run.json"
"""Says whose evaluation a folder holds."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """The command line, as given; None where an option was left out."""

    model: str | None = None
    suite: str = "foal-quick"
    clips: Path | None = None
    out: Path | None = None
    steps: int | None = None
    guidance: str | None = None
    recognisers: tuple[str, ...] = ()
    syncnet: Path | None = None
    synchformer: Path | None = None
    device: str | None = None
    overwrite: bool = False
    json: bool = False


def evaluate(asked: Asked) -> None:
    """Evaluates and prints what it comes to."""
    report, folder = evaluated(asked)
    if asked.json:
        print(json.dumps({"report": str(folder / "report.json"), **_brief(report)}, ensure_ascii=False))
    else:
        from happyhorse.evaluation.tally import markdown

        print(markdown(report.headline))
    if report.skipped:
        say(f"{len(report.skipped)} clips were not measured: {next(iter(report.skipped.values()))}; the report has all")
    say(f"written to {folder / 'report.html'} and report.json")


def evaluated(asked: Asked) -> tuple[Report, Path]:
    """Makes and measures what is not there yet and writes the report; also the folder that it is in."""
    require_tools()
    from happyhorse.evaluation.report import make_report
    from happyhorse.evaluation.suites import load_suite

    if asked.clips and asked.model:
        raise ConfigError("give a model or --clips, not both")
    suite = load_suite(asked.suite)
    folder = asked.out or Path("evaluations") / f"{_name(asked)}-{suite.name}"
    with StageProgress() as progress:
        run = prepare(asked, suite, folder, progress)
        measured = run.cases(lambda done, total: _tell(progress, done, total))
    report = make_report(run.facts(), measured)
    write_report(folder, report, measured)
    return report, folder


def sweep(asked: Asked, steps: Sequence[int], guidance: Sequence[str]) -> None:
    """Evaluates a model at every number of steps with every guidance, and writes ``sweep.html``."""
    require_tools()
    from happyhorse.evaluation.page import write_sweep
    from happyhorse.evaluation.plots import sweep_plot
    from happyhorse.evaluation.sweep import markdown, read_point

    for weights in guidance:
        parse_guidance(weights)
    folder, points = asked.out or Path("evaluations") / f"{_name(asked)}-{asked.suite}-sweep", []
    for count in steps:
        for weights in guidance or [None]:
            name = f"steps-{count}" + (f"-guidance-{weights}" if weights else "")
            say(f"{count} steps" + (f", guidance {weights}" if weights else ""))
            one = dataclasses.replace(asked, steps=count, guidance=weights, out=folder / name)
            points.append(read_point(evaluated(one)[1] / "report.json"))
    write_sweep(folder / "sweep.html", f"{_name(asked)}: what quality costs", points, sweep_plot(points))
    if asked.json:
        print(json.dumps([dataclasses.asdict(point) for point in points], ensure_ascii=False))
    else:
        print(markdown(points))
    say(f"written to {folder / 'sweep.html'}")


def numbers(text: str) -> list[int]:
    """ "5,10" to [5, 10]. Raises ConfigError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--steps {text!r} is not a list of numbers; give some such as 5,10,20") from error


def _name(asked: Asked) -> str:
    return asked.clips.resolve().name if asked.clips else Path(asked.model or "foal").name


def require_tools() -> None:
    """Raises MissingToolError if the extra that evaluates is not installed."""
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingToolError(f"{', '.join(missing)} missing; measuring needs: pip install 'happyhorse[eval]'")


# ------------------------------------------------------------------------------------------------------------- assembly


def prepare(asked: Asked, suite: Suite, folder: Path, progress: StageProgress) -> Run:
    """Everything that a run needs, checked, and its folder claimed."""
    from happyhorse.evaluation.instruments import Fitting, cached_instruments, fingerprint, user_cache
    from happyhorse.evaluation.measure import Bench
    from happyhorse.evaluation.readings import Instruments
    from happyhorse.evaluation.recognisers import recognisers
    from happyhorse.evaluation.record import Records
    from happyhorse.evaluation.run import Run
    from happyhorse.evaluation.speech import SpeechMatcher

    ears, judges = recognisers(asked.recognisers), open_judges(asked)
    source, codecs, device = open_source(asked, suite, folder, progress)
    claim(folder, {"suite": suite.name, **source.facts}, asked.overwrite)
    known = folders(user_cache() / "suites" / suite.name)
    fitting = Fitting(seconds=suite.seconds)
    fitted = cached_instruments(fitting, progress=lambda done, total: progress("fit", done, total))
    matcher = SpeechMatcher(round(suite.seconds * SAMPLE_RATE))
    return Run(
        suite=suite,
        source=source,
        bench=Bench(suite.size, Instruments(fitted, matcher, recognisers=ears, judges=judges), codecs, device),
        made=Records(folder / "records"),
        known=Records(known),
        tools=(codecs_fingerprint(asked.model), fingerprint(fitting), *(one.fingerprint for one in (*ears, *judges))),
    )


def open_judges(asked: Asked) -> tuple[Judge, ...]:
    """The judges whose weights are given."""
    judges: list[Judge] = []
    if asked.syncnet:
        from happyhorse.evaluation.syncnet import SyncNetJudge

        judges.append(SyncNetJudge(asked.syncnet))
    if asked.synchformer:
        from happyhorse.evaluation.synchformer import SynchformerJudge

        judges.append(SynchformerJudge(asked.synchformer))
    return tuple(judges)


def open_source(
    asked: Asked, suite: Suite, folder: Path, progress: StageProgress
) -> tuple[Source, Codecs, torch.device]:
    """Where the clips come from, with the codecs to compare them with and the device that these are on."""
    from happyhorse.codecs.codec import Codecs
    from happyhorse.evaluation.source import FolderSource, ModelSource, Settings
    from happyhorse.sampling.pipeline import Pipeline
    from happyhorse.training.run import find_codecs

    device = find_device(asked.device)
    if asked.clips:
        return FolderSource(asked.clips, suite.plans()), find_codecs(None, device), device
    settings = Settings(asked.steps, parse_guidance(asked.guidance))
    pipeline = Pipeline.from_pretrained(asked.model or "foal", device)
    source = ModelSource(pipeline, folders(folder / "clips"), suite.size, settings, progress)
    source.request(suite.plans()[0], "")  # refuses here, not after the instruments are made, what cannot be asked for
    return source, Codecs(pipeline.parts.video, pipeline.parts.audio), device


def codecs_fingerprint(model: str | None) -> str:
    """Hashes of the codecs of a model, or of the shipped ones."""
    files = read_manifest(resolve(model or "foal")).files
    return files["video"]["sha256"] + files["audio"]["sha256"]


def folders(path: Path) -> Path:
    """The folder, made if it is not there. Raises OutputError if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    return path


def claim(folder: Path, facts: dict[str, Any], overwrite: bool) -> None:
    """Marks a folder as the place of one evaluation. Raises OutputError if it holds another and may not be replaced."""
    folders(folder / "records")
    mark = folder / LANDMARK
    try:
        held = json.loads(mark.read_text("utf-8"))
    except (OSError, ValueError):
        held = None
    wanted = json.loads(json.dumps(facts))
    if held not in (None, wanted) and not overwrite:
        what = next((key for key in wanted if held.get(key) != wanted[key]), "something")
        raise OutputError(f"{folder} holds an evaluation with another {what}; give another --out, or --overwrite")
    with whole_file(mark) as temporary:
        temporary.write_text(json.dumps(wanted, indent=1) + "\n", "utf-8")


# -------------------------------------------------------------------------------------------------------------- output


def write_report(folder: Path, report: Report, measured: Sequence[Measured]) -> None:
    """``report.json`` for machines and ``report.html`` for people."""
    from happyhorse.evaluation.page import sheets, write_page
    from happyhorse.evaluation.plots import plots

    with whole_file(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    write_page(folder / "report.html", report, plots(report), sheets(measured, folder))


def _brief(report: Report) -> dict[str, Any]:
    headline = [line.to_dict() for line in report.headline if line.row == "model"]
    return {"facts": report.facts, "headline": headline, "skipped": report.skipped}


def _tell(progress: StageProgress, done: int, total: int) -> None:
    progress("cases", done, total)
    if not sys.stderr.isatty() and done % 5 == 0:
        say(f"{done} of {total} cases")


def list_suite(name: str, as_json: bool) -> None:
    """Prints what a suite asks for: the names that clips must have, seeds and prompts."""
    from happyhorse.evaluation.suites import load_suite

    for case in load_suite(name).plans():
        for take in case.takes():
            row = {"clip": f"{case.name}{take}.mp4", "seed": case.seed_of(take), "prompt": case.prompt}
            print(json.dumps(row, ensure_ascii=False) if as_json else "\t".join(map(str, row.values())))


# ---------------------------------------------------------------------------------------------------------- comparison


def compare_reports(first: Path, second: Path, as_json: bool) -> None:
    """Prints the differences of two reports, those that are more than chance in bold."""
    require_tools()
    from happyhorse.evaluation.compare import compare, markdown, read_cases

    differences = compare(read_cases(first), read_cases(second))
    if as_json:
        print(json.dumps([{**dataclasses.asdict(one), "certain": one.certain} for one in differences]))
    else:
        print(markdown(differences, (first.parent.name or str(first), second.parent.name or str(second))))
