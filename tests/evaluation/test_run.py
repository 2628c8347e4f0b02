"""A whole run over a small suite: clips from a folder, records kept, a report that says what was wrong with them."""

import json
from collections import Counter

import numpy as np
import pytest

from happyhorse.codecs.media import write_mp4
from happyhorse.evaluation import run as run_module
from happyhorse.evaluation.compare import compare, read_cases
from happyhorse.evaluation.measure import ALL, make_cases
from happyhorse.evaluation.order import embedder
from happyhorse.evaluation.page import sheets, write_page
from happyhorse.evaluation.plots import plots
from happyhorse.evaluation.record import Records
from happyhorse.evaluation.report import make_report
from happyhorse.evaluation.run import Run, stranger_of
from happyhorse.evaluation.source import FolderSource
from happyhorse.evaluation.suites import suite_of
from happyhorse.weights.registry import resolve

SECONDS = 2.0


@pytest.fixture(scope="module")
def suite():
    return suite_of("small", make_cases(3, SECONDS, 0, families=["ball", "talker"]), SECONDS, (64, 64))


@pytest.fixture
def clips(tmp_path, suite, bench):
    """Real scenes as clips: all but the last talker's, and of the balls only the first with other seeds."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for case in suite.plans()[:-1]:
        real = bench.real(case.plan)
        for take in case.takes() if case.name == "ball-00" else ("",):
            write_mp4(folder / f"{case.name}{take}.mp4", real.frames, real.waveform[None], 24, 24_000)
    return folder


def make_run(suite, clips, bench, folder):
    for name in ("records", "known"):
        (folder / name).mkdir(exist_ok=True)
    source = FolderSource(clips, suite.plans())
    return Run(suite, source, bench, Records(folder / "records"), Records(folder / "known"), ("tools",))


def reported(run):
    return make_report(run.facts(), run.cases())


def test_a_run_measures_all_there_is_and_says_what_is_not(suite, clips, bench, tmp_path):
    run, steps = make_run(suite, clips, bench, tmp_path), []
    measured = run.cases(lambda done, total: steps.append((done, total)))
    report = make_report(run.facts(), measured)
    assert steps == [(done, 12) for done in range(13)]
    assert report.skipped == {"talker-02": "no such clip"} | {
        f"talker-00-seed-{number}": "no such clip" for number in (1, 2, 3)
    }
    lines = {(line.row, line.family, line.metric, line.split): line for line in report.lines}
    assert lines["model", "ball", "F1 of impacts and onsets", "all"].value > 0.95
    said = [lines["model", "talker", "sentence right", split] for split in ("trained", "held out")]
    assert sum(line.clips for line in said) == 2 and all(line.value == 1 for line in said)
    assert lines["real", "talker", "silent clips", "all"].clips == 3
    assert ("model", ALL, "spread over seeds, of real scenes' (picture)", "all") in lines
    summed = {(line.row, line.metric, line.split): line for line in report.headline}
    foley = summed["model", "foley: F1 of impacts seen and heard", "all"]
    assert foley.value == lines["model", "ball", "F1 of impacts and onsets", "all"].value
    parts = [summed["model", "talkers: word errors (echo)", split] for split in ("trained", "held out")]
    whole = summed["model", "talkers: word errors (echo)", "all"]
    assert whole.count == sum(part.count for part in parts)
    assert whole.value == pytest.approx(sum(part.value * part.count for part in parts) / whole.count)
    assert report.facts["clips"] == "clips" and report.facts["recognisers"] == "echo"

    write_page(tmp_path / "report.html", report, plots(report), sheets(measured, tmp_path))
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<figure>") == 5 + 3 and page.count("data:image/jpeg;base64,/9j/") == 5
    assert 'href="clips/ball-00.mp4"' in page and "no such clip" in page and "echo hears: hello my friend" in page
    assert not any("<script" in part for part in page.lower().split())

    path = tmp_path / "report.json"
    path.write_text(json.dumps(report.to_dict()), "utf-8")
    same = compare(read_cases(path), read_cases(path))
    assert same and all(one.change == 0 and not one.certain for one in same)


def test_what_is_measured_is_not_measured_again(suite, clips, bench, tmp_path, monkeypatch):
    first = reported(make_run(suite, clips, bench, tmp_path))

    def again(*anything):
        raise AssertionError("measured twice")

    monkeypatch.setattr(run_module, "known_record", again)
    monkeypatch.setattr(run_module, "made_record", again)
    assert reported(make_run(suite, clips, bench, tmp_path)).to_dict() == first.to_dict()
    changed = clips / "talker-01.mp4"
    changed.write_bytes((clips / "ball-01.mp4").read_bytes())
    with pytest.raises(AssertionError, match="measured twice"):
        make_run(suite, clips, bench, tmp_path).cases()


def test_a_run_that_was_stopped_goes_on(suite, clips, bench, tmp_path, monkeypatch):
    whole, count = run_module.made_record, 0

    def stopping(*anything):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole(*anything)

    monkeypatch.setattr(run_module, "made_record", stopping)
    with pytest.raises(KeyboardInterrupt):
        make_run(suite, clips, bench, tmp_path).cases()
    report = reported(make_run(suite, clips, bench, tmp_path))
    assert count == 3 + 4 and len(report.cases) == 6


def test_a_stranger_is_of_the_same_family(suite):
    cases = suite.plans()
    for case in cases:
        other = stranger_of(case, cases)
        assert other.plan.family == case.plan.family and other is not case


def test_confusion_counts_what_is_seen_against_what_was_asked(suite, clips, bench, tmp_path):
    report = reported(make_run(suite, clips, bench, tmp_path))
    tables = report.confusion["ball: surface (picture)"]
    seen = Counter[str]()
    for combinations in tables.values():
        for wanted, row in combinations.items():
            assert set(row) == {"wood"}
            seen[wanted] += row["wood"]
    asked = [case["asked"]["surface"] for case in report.cases.values() if case["family"] == "ball"]
    assert seen == Counter(asked)


def test_lateness_is_told_as_median_and_quartiles(suite, clips, bench, tmp_path):
    for name in ("ball-00", "ball-01", "ball-02"):
        case = next(case for case in suite.plans() if case.name == name)
        real = bench.real(case.plan)
        write_mp4(clips / f"{name}.mp4", real.frames, np.roll(real.waveform, 480)[None], 24, 24_000)
    report = reported(make_run(suite, clips, bench, tmp_path))
    found = {(one["row"], one["family"]): one for one in report.offsets}
    late = found["model", "ball"]["median"] - found["real", "ball"]["median"]
    assert late == pytest.approx(20, abs=2) and found["model", "ball"]["pairs"] > 3


def test_embeddings_are_named_by_their_codecs(tiny_model, tmp_path):
    """Reports of two models on the same codecs compare their distances; on other codecs they do not."""
    foal = resolve("foal").manifest
    renamed = foal.replace(name="student")
    assert embedder(foal) == embedder(renamed) == "foal"
    assert embedder(resolve(tiny_model).manifest) == "tiny"
