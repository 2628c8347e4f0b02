"""``happyhorse evaluate``, ``sweep`` and ``compare``: from options to reports and tables."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from happyhorse.cli.generate import parse_guidance
from happyhorse.cli.main import EXIT_STOPPED, say
from happyhorse.cli.progress import StageProgress
from happyhorse.errors import ConfigError, MissingToolError

if TYPE_CHECKING:
    from happyhorse.evaluation.order import Order
    from happyhorse.evaluation.report import Report

TOOLS = ("jiwer", "skimage", "pyloudnorm", "matplotlib")
"""What the extra [eval] brings."""
FOLDER = Path("evaluations")


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

    def order(self) -> Order:
        """What the evaluation is told."""
        from happyhorse.evaluation.order import Order

        return Order(
            model=self.model,
            clips=self.clips,
            suite=self.suite,
            steps=self.steps,
            guidance=parse_guidance(self.guidance),
            recognisers=self.recognisers,
            syncnet=self.syncnet,
            synchformer=self.synchformer,
            device=self.device,
        )


def evaluate(asked: Asked) -> int:
    """Evaluates, and prints what it comes to."""
    require_tools()
    return stopping(lambda: _evaluate(asked))


def _evaluate(asked: Asked) -> None:
    from happyhorse.evaluation.tally import markdown

    order = asked.order()
    folder = asked.out or FOLDER / f"{order.name}-{order.suite}"
    report = run_order(order, folder, asked.overwrite)
    if asked.json:
        print(json.dumps({"report": str(folder / "report.json"), **_brief(report)}, ensure_ascii=False))
    else:
        print(markdown(report.headline))
    if report.skipped:
        say(f"{len(report.skipped)} clips were not measured: {next(iter(report.skipped.values()))}; the report has all")
    say(f"written to {folder / 'report.html'} and report.json")


def run_order(order: Order, folder: Path, overwrite: bool) -> Report:
    """Evaluates with live progress."""
    from happyhorse.evaluation.order import evaluate

    with StageProgress() as progress:

        def tell(stage: str, done: int, total: int) -> None:
            progress(stage, done, total)
            if stage == "cases" and not sys.stderr.isatty() and done % 5 == 0:
                say(f"{done} of {total} cases")

        return evaluate(order, folder, overwrite, tell)


def sweep(asked: Asked, steps: Sequence[int], guidance: Sequence[str]) -> int:
    """Evaluates a model at every number of steps with every guidance, and writes ``sweep.html``."""
    require_tools()
    for weights in guidance:
        parse_guidance(weights)
    return stopping(lambda: _sweep(asked, steps, guidance))


def _sweep(asked: Asked, steps: Sequence[int], guidance: Sequence[str]) -> None:
    from happyhorse.evaluation.page import write_sweep
    from happyhorse.evaluation.plots import sweep_plot
    from happyhorse.evaluation.sweep import markdown, read_point

    name = asked.order().name
    folder, points = asked.out or FOLDER / f"{name}-{asked.suite}-sweep", []
    for count in steps:
        for weights in guidance or [None]:
            say(f"{count} steps" + (f", guidance {weights}" if weights else ""))
            one = folder / (f"steps-{count}" + (f"-guidance-{weights}" if weights else ""))
            run_order(dataclasses.replace(asked, steps=count, guidance=weights).order(), one, asked.overwrite)
            points.append(read_point(one / "report.json"))
    write_sweep(folder / "sweep.html", f"{name}: what quality costs", points, sweep_plot(points))
    if asked.json:
        print(json.dumps([dataclasses.asdict(point) for point in points], ensure_ascii=False))
    else:
        print(markdown(points))
    say(f"written to {folder / 'sweep.html'}")


def stopping(work: Callable[[], None]) -> int:
    """Does the work; says after Ctrl-C that what is there is kept."""
    try:
        work()
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return EXIT_STOPPED
    return 0


def numbers(text: str) -> list[int]:
    """ "5,10" to [5, 10]. Raises ConfigError for anything else."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--steps {text!r} is not a list of numbers; give some such as 5,10,20") from error


def missing_tools() -> list[str]:
    """Packages of the extra that evaluates that are not installed."""
    return [name for name in TOOLS if importlib.util.find_spec(name) is None]


def require_tools() -> None:
    """Raises MissingToolError if the extra that evaluates is not installed."""
    if missing := missing_tools():
        raise MissingToolError(f"{', '.join(missing)} missing; measuring needs: pip install 'happyhorse[eval]'")


def _brief(report: Report) -> dict[str, Any]:
    headline = [line.to_dict() for line in report.headline if line.row == "model"]
    return {"facts": report.facts, "headline": headline, "skipped": report.skipped}


def list_suite(name: str, as_json: bool) -> None:
    """Prints what a suite asks for: the names that clips must have, seeds and prompts."""
    from happyhorse.evaluation.suites import load_suite

    for case in load_suite(name).plans():
        for take in case.takes():
            row = {"clip": f"{case.name}{take}.mp4", "seed": case.seed_of(take), "prompt": case.prompt}
            print(json.dumps(row, ensure_ascii=False) if as_json else "\t".join(map(str, row.values())))


def compare_reports(first: Path, second: Path, as_json: bool) -> None:
    """Prints the differences of two reports, those that are more than chance in bold."""
    require_tools()
    from happyhorse.evaluation.compare import compare, markdown, read_cases

    differences = compare(read_cases(first), read_cases(second))
    if as_json:
        print(json.dumps([{**dataclasses.asdict(one), "certain": one.certain} for one in differences]))
    else:
        print(markdown(differences, (first.parent.name or str(first), second.parent.name or str(second))))
