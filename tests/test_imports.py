"""The rooms import one way only: types, config -> flow -> model, codecs -> weights -> sampling -> ... -> cli."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import happyhorse

ROOT = Path(__file__).parents[1]


def test_rooms_import_one_way():
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_room_has_its_place_in_the_order():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    placed = set(re.findall(r"happyhorse\.(\w+)", " ".join(contract["layers"])))
    package = Path(happyhorse.__file__).parent
    rooms = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/*.py")}
    assert rooms - placed == {"__init__", "__main__"}


def test_public_names_are_there():
    assert happyhorse.Pipeline.__name__ == "Pipeline"
    assert happyhorse.Clip.__name__ == "Clip"
    assert set(happyhorse.__all__) == {"Clip", "Pipeline", "__version__"}
