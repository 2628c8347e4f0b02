"""``happyhorse compile`` and ``generate --compile``."""

import json

import pytest

from happyhorse.cli.compile import parse_shape
from happyhorse.cli.compiling import make_compiling
from happyhorse.cli.main import run
from happyhorse.compile import accelerate
from happyhorse.compile.spec import CompileSpec
from happyhorse.errors import ConfigError, SizeError
from happyhorse.sampling.request import Sampling
from happyhorse.types import ClipShape

FULL = {"scope": "full", "attention": "plain", "linear": "as-is"}


def test_a_clip_is_written_as_seconds_and_size():
    assert parse_shape("2.5s@64x64", Sampling()) == ClipShape(2.5, 64, 64)


@pytest.mark.parametrize(
    ("text", "words"),
    [("128x128", "write SECONDSs@WIDTHxHEIGHT"), ("5s@99x99", "99x99 cannot be made"), ("60s@64x64", "60 s cannot")],
)
def test_other_sizes_are_refused(text, words):
    with pytest.raises(SizeError, match=words):
        parse_shape(text, Sampling())


def test_without_a_compiler_there_is_one_line(tiny_model, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert run(["compile", str(tiny_model), "--sizes", "0.5s@64x64"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("error: compiling needs a C++ compiler")


def test_an_unknown_model_is_refused_before_anything_is_compiled(capsys):
    assert run(["compile", "horse"]) == 2
    assert "unknown model 'horse'" in capsys.readouterr().err


def test_generate_refuses_another_way(tiny_model, capsys):
    assert run(["generate", "a ball", "--model", str(tiny_model), "--compile", "fast"]) == 2
    assert capsys.readouterr().err == "error: compile is 'fast'; it must be one of auto, off, max\n"


def test_generate_says_why_a_model_runs_as_it_is_only_if_asked(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["generate", "a ball", "--model", str(tiny_model), "--size", "64x64", "--seed", "1"]
    assert run([*arguments, "-o", "one.mp4"]) == 0
    assert capsys.readouterr().err == ""
    assert run([*arguments, "-o", "two.mp4", "--compile", "auto"]) == 0
    assert capsys.readouterr().err.startswith("note: not compiled: it would take about ")
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


class AsTheyAre:
    """Gives what would be compiled without compiling it."""

    def graph(self, module, tensors, free):
        return module


def test_compiled_code_is_told_of_with_the_way_back(tiny_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(accelerate, "Packages", lambda *arguments, **options: AsTheyAre())
    monkeypatch.setattr(accelerate, "packaged", lambda *arguments: True)
    monkeypatch.setattr("happyhorse.compile.artefacts.any_at_hand", lambda: True)
    model = ["--model", str(tiny_model), "--size", "64x64", "--seed", "1", "--guidance", "1"]
    assert run(["generate", "a ball", *model, "-o", "fast.mp4"]) == 0
    assert capsys.readouterr().err == "note: compiled: a package is at hand (--compile off: without it)\n"
    assert run(["info", "fast.mp4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["compile"] == FULL


# ------------------------------------------------------------------------------------------------- repeating a clip
def test_a_clip_is_repeated_as_it_was_made():
    assert make_compiling(None, None, {"prompt": "a ball"}, 1).asked == "off"
    again = make_compiling(None, None, {"prompt": "a ball", "compile": FULL}, 1)
    assert (again.asked, again.spec) == ("auto", CompileSpec(scope="full", attention="plain"))
    assert make_compiling(None, "max", {"prompt": "a ball"}, 1).asked == "max"


def test_a_recipe_with_another_kind_of_compiling_is_refused():
    with pytest.raises(ConfigError, match="has no field speed"):
        make_compiling(None, None, {"compile": {"speed": 1}}, 1)
