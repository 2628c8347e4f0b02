import importlib.util

import pytest

from happyhorse.codecs.images import read_image
from happyhorse.compile import roofline
from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.explain import Part
from happyhorse.errors import MissingToolError, OutputError

MACHINE = Ceilings("a machine", {"fp32": 1e11, "int8": 4e11}, bandwidth=1e10)
PARTS = [Part("linears", 10**9, 10**7, 60, 0.02), Part("the rest", 10**6, 10**8, 500, 0.03), Part("none", 0, 0, 0, 0.0)]


def test_the_roof_rises_with_memory_and_is_flat_from_the_ridge_on():
    assert roofline.roof(MACHINE, "fp32", [1, 10, 100]) == [1e10, 1e11, 1e11]
    assert roofline.roof(MACHINE, "int8", [100]) == [4e11]


def test_a_picture_is_written_whole(tmp_path):
    path = tmp_path / "roofline.png"
    roofline.write_roofline(path, "a model", PARTS, MACHINE)
    assert min(read_image(path).shape[:2]) > 300
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError):
        roofline.write_roofline(path, "a model", PARTS, MACHINE, overwrite=False)


def test_without_matplotlib_there_is_a_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install 'happyhorse"):
        roofline.write_roofline(tmp_path / "roofline.png", "a model", PARTS, MACHINE)
