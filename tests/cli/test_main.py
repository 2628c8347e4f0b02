import os
import subprocess
import sys

import pytest

from happyhorse.cli import main
from happyhorse.errors import PromptError


def isolated(code):
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_and_import_load_nothing_heavy():
    code = "import sys\nfrom happyhorse.cli.main import run\nrun(['generate', '--help'])\nprint('torch' in sys.modules)"
    shown = isolated(code)
    assert "--guidance" in shown
    assert shown.splitlines()[-1] == "False"
    assert isolated("import happyhorse, sys; print('torch' in sys.modules)").strip() == "False"


def test_waiting_threads_sleep(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["happyhorse", "--version"])
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(main.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize("arguments", [["generate", "--colour"], ["fly"], ["generate", "a ball", "--steps", "many"]])
def test_a_wrong_option_is_one_line_and_two(arguments, capsys):
    assert main.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (PromptError("the prompt is empty"), 2, "error: the prompt is empty"),
        (KeyboardInterrupt(), 130, "stopped; nothing was written"),
        (MemoryError(), 2, "too little memory"),
        (ZeroDivisionError("oh"), 1, "unexpected error: ZeroDivisionError: oh"),
    ],
)
def test_errors_are_lines_and_codes_and_debug_shows_where(monkeypatch, capsys, raised, code, words):
    def fail(*_, **__):
        raise raised

    monkeypatch.setattr(main, "app", fail)
    assert main.run(["doctor"]) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    main.run(["doctor", "--debug"])
    assert ("Traceback" in capsys.readouterr().err) == (code != 130)
