import json

import pytest

from happyhorse.cli import bench, main
from happyhorse.compile.compare import Comparison, Variant
from happyhorse.compile.timing import Spent


@pytest.fixture
def quick(monkeypatch, tiny_model):
    """Nothing is compiled: every way is the plain one."""
    monkeypatch.setattr(Variant, "build", build)
    return ["bench", str(tiny_model), "--seconds", "0.5", "--size", "64x64"]


def build(variant: Variant, model):
    model.way = "compiled"
    return model


def test_ways_side_by_side(quick, capsys):
    assert main.run([*quick, "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    assert "a step of 0.5 s, 64x64" in shown
    for words in ("eager", "full", "bf16", "int8"):
        assert words in shown


def test_explained_with_a_picture_and_numbers(quick, tmp_path, monkeypatch, capsys):
    measure = bench.ceilings.measure
    monkeypatch.setattr(bench.ceilings, "measure", lambda device, seconds: measure(device, 64, 0.01))
    out = tmp_path / "found"
    assert main.run([*quick, "--repeats", "2", "--ways", "block", "--explain", "--out", str(out), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((out / "bench.json").read_text())
    assert (out / "roofline.png").stat().st_size > 0
    assert printed["variants"][0]["name"] == "eager"
    assert printed["variants"][1]["error"] == 0
    assert sum(part["flops"] for part in printed["explained"]["parts"]) > 1e6
    assert main.run([*quick, "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_ctrl_c_prints_what_there_is(quick, monkeypatch, capsys, tmp_path):
    def run(self, repeats, on_round):
        for contender in self.contenders.values():
            contender.spent.append(Spent(0.25, 0.125))
        raise KeyboardInterrupt

    monkeypatch.setattr(Comparison, "run", run)
    assert main.run([*quick, "--out", str(tmp_path)]) == 130
    said = capsys.readouterr()
    assert "stopped" in said.err
    assert "250.0" in said.out
    assert not list(tmp_path.iterdir())


def test_ctrl_c_before_anything_was_measured(quick, monkeypatch, capsys):
    def prepare(self, variant):
        raise KeyboardInterrupt

    monkeypatch.setattr(Comparison, "prepare", prepare)
    assert main.run(quick) == 130
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repeats", "0"], "repeats 0 is out of range"),
        (["--ways", "block,fast"], "way 'fast' is unknown here; the ways are eager, attention, block"),
        (["--size", "100x100"], "100x100 cannot be made"),
        (["--seconds", "99"], "99 s cannot be made"),
        (["--device", "abacus"], "abacus"),
        (["--out", "/dev/null/x"], "/dev/null"),
    ],
)
def test_what_cannot_be_measured_is_a_line(quick, capsys, arguments, words):
    assert main.run([*quick, *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_an_unknown_model(capsys):
    assert main.run(["bench", "nohorse"]) == 2
    assert "unknown model" in capsys.readouterr().err
