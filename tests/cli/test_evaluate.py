"""``happyhorse evaluate``, ``sweep`` and ``compare``, from the command line to the files."""

import json

import pytest

from happyhorse.cli import evaluate as command
from happyhorse.cli.main import run
from happyhorse.evaluation import instruments, order, recognisers, suites
from happyhorse.evaluation.instruments import Fitted
from happyhorse.evaluation.measure import make_cases
from happyhorse.evaluation.suites import Suite, load_suite


class Deaf:
    name = fingerprint = "deaf"
    languages = ()


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One ball for half a second, and instruments that know nothing, so that a run takes seconds."""
    case = make_cases(1, 0.5, 0, families=["ball"])[0]
    row = {"family": "ball", "seed": 1, "attributes": dict(case.plan.attributes), "prompt": case.prompt, "image": True}
    suite = Suite("small", 0.5, (64, 64), (row,))
    monkeypatch.setattr(suites, "load_suite", lambda name: suite)
    monkeypatch.setattr(instruments, "cached_instruments", lambda *anything, **more: Fitted({}, {}, {}))
    monkeypatch.setattr(recognisers, "recognisers", lambda names: (Deaf(),))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_model_is_evaluated_its_run_resumed_and_compared(small, capsys):
    assert run(["evaluate", "foal", "--steps", "2", "--out", "one", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["facts"]["model"] == "foal" and said["facts"]["steps"] == 2 and said["skipped"] == {}
    assert {"clips", "records", "report.html", "report.json", "run.json"} == {p.name for p in (small / "one").iterdir()}
    made = {path: path.stat().st_mtime_ns for path in (small / "one" / "clips").glob("*.mp4")}
    assert len(made) == 8

    assert run(["evaluate", "foal", "--steps", "2", "--out", "one"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (small / "one" / "clips").glob("*.mp4")} == made
    assert "| frozen clips |" in capsys.readouterr().out

    assert run(["compare", "one/report.json", "one/report.json", "--json"]) == 0
    assert all(one["first"] == one["second"] and not one["certain"] for one in json.loads(capsys.readouterr().out))

    assert run(["evaluate", "foal", "--steps", "3", "--out", "one"]) == 2
    assert "holds an evaluation with another steps; give another --out, or --overwrite" in capsys.readouterr().err

    assert run(["evaluate", "--clips", "one/clips", "--out", "two", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["headline"] == said["headline"] and again["facts"]["clips"] == "clips"


@pytest.mark.parametrize("damaged", ["[]", "{", ""])
def test_a_folder_whose_mark_is_damaged_is_claimed_again(small, damaged):
    (small / "one").mkdir()
    (small / "one" / "run.json").write_text(damaged, "utf-8")
    assert run(["evaluate", "foal", "--steps", "1", "--out", "one"]) == 0
    assert json.loads((small / "one" / "run.json").read_text("utf-8"))["steps"] == 1


def test_a_folder_that_is_refused_is_left_as_it_was(small, capsys):
    (small / "one").mkdir()
    (small / "one" / "run.json").write_text('{"suite": "another"}', "utf-8")
    assert run(["evaluate", "foal", "--out", "one"]) == 2
    assert "another suite" in capsys.readouterr().err
    assert [path.name for path in (small / "one").iterdir()] == ["run.json"]


@pytest.mark.parametrize("arguments", [["evaluate", "--out", "one"], ["sweep", "--out", "one"]])
def test_a_run_that_is_stopped_keeps_what_it_has_and_says_so(small, arguments, monkeypatch, capsys):
    def stop(*anything):
        raise KeyboardInterrupt

    monkeypatch.setattr(order.Run, "cases", stop)
    assert run(arguments) == 130
    assert capsys.readouterr().err.endswith("stopped; the same command goes on from here\n")


def test_a_sweep_is_a_table_and_a_page(small, capsys):
    assert run(["sweep", "--steps", "1,2", "--guidance", "1", "--out", "swept"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| steps | guidance | s per clip |") and len(lines) == 4
    assert "<svg" in (small / "swept" / "sweep.html").read_text("utf-8")


def test_clips_that_cannot_be_measured_are_counted(small, capsys):
    (small / "clips").mkdir()
    (small / "clips" / "ball-00.mp4").write_bytes(b"no clip")
    assert run(["evaluate", "--clips", "clips", "--out", "one", "--json"]) == 0
    found = capsys.readouterr()
    said = json.loads(found.out)
    assert len(said["skipped"]) == 8 and "damaged" in said["skipped"]["ball-00"] and said["headline"] == []
    assert "8 clips were not measured" in found.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["evaluate", "--suite", "pony"], "suite 'pony' is unknown; known are foal-quick, foal-wide"),
        (["evaluate", "pony"], "unknown model 'pony'"),
        (["evaluate", "foal", "--clips", "."], "give a model or --clips, not both"),
        (["evaluate", "--clips", "none"], "the folder none does not exist"),
        (["evaluate", "--recogniser", "pony"], "recogniser 'pony' is unknown; known are foal-asr"),
        (["evaluate", "--recogniser", "whisper"], "pip install 'happyhorse[magihuman]'"),
        (["sweep", "--steps", "few"], "--steps 'few' is not a list of numbers"),
        (["sweep", "--guidance", "much"], "--guidance 'much' is not a number"),
        (["compare", "none.json", "none.json"], "none.json was not found"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, reason, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    if "whisper" not in arguments or recognisers.importlib.util.find_spec("transformers") is None:
        assert run(arguments) == 2
        assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "a.json").write_text("[]", "utf-8")
    assert run(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 2
    assert "is not a report of happyhorse evaluate" in capsys.readouterr().err


def test_the_extra_is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(command, "TOOLS", ("jiwer", "no_such_module"))
    assert run(["evaluate"]) == 2
    assert "no_such_module missing; measuring needs: pip install 'happyhorse[eval]'" in capsys.readouterr().err


def test_a_suite_is_listed_with_the_names_that_clips_must_have(capsys):
    assert run(["evaluate", "--list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    cases = load_suite("foal-quick").plans()
    assert [row[0] for row in rows] == [f"{case.name}{take}.mp4" for case in cases for take in case.takes()]
    assert rows[0][2] == cases[0].prompt
    assert run(["evaluate", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[0])["clip"] == rows[0][0]
