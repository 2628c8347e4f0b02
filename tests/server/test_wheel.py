"""What people install holds what the server serves."""

from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from happyhorse.server.pages import STUDIO

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_every_file_of_the_studio() -> None:
    builders = pytest.importorskip("hatchling.builders.wheel", reason="pip install hatchling")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("the tests run beside an installed package")
    packed = {file.distribution_path for file in builders.WheelBuilder(str(ROOT)).recurse_included_files()}
    served = {f"happyhorse/server/studio/{path.relative_to(STUDIO)}" for path in STUDIO.rglob("*") if path.is_file()}
    assert {"happyhorse/server/studio/index.html", "happyhorse/server/studio/js/make.js"} <= served
    assert not served - packed
