import pytest

from happyhorse.errors import WeightsError
from happyhorse.weights.registry import available, resolve


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'pony'.*foal.*magihuman-base"):
        resolve("pony")


def test_a_model_that_cannot_run_here_says_what_it_needs():
    with pytest.raises(WeightsError, match=r"GPU.*work here: foal"):
        resolve("magihuman-base")


def test_a_folder_with_a_manifest_is_a_model(tmp_path):
    with pytest.raises(WeightsError, match="not a model folder"):
        resolve(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert resolve(tmp_path) == tmp_path
    assert resolve(str(tmp_path)) == tmp_path


def test_the_foal_is_available_by_name():
    assert available() == ["foal"]
