import pytest

from happyhorse.errors import WeightsError
from happyhorse.weights.registry import Model, available, resolve


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'pony'.*foal.*magihuman-base"):
        resolve("pony")


def test_a_model_that_cannot_run_here_says_what_it_needs():
    with pytest.raises(WeightsError, match=r"GPU.*work here: foal"):
        resolve("magihuman-base")


def test_a_folder_with_a_manifest_is_a_model(tmp_path, tiny_model):
    with pytest.raises(WeightsError, match="not a model folder"):
        resolve(tmp_path)
    assert resolve(tiny_model) == Model(tiny_model, "base")
    assert resolve(str(tiny_model)) == Model(tiny_model, "base")


def test_a_weight_file_is_the_model_that_it_holds(tiny_model):
    assert resolve(tiny_model / "distilled.safetensors") == Model(tiny_model, "distilled")
    with pytest.raises(WeightsError, match=r"audio\.safetensors makes no clips.*base\.safetensors, distilled"):
        resolve(tiny_model / "audio.safetensors")
    with pytest.raises(WeightsError, match="unknown model"):
        resolve(tiny_model / "none.safetensors")


def test_the_first_generator_is_meant_by_the_name():
    meant, base = resolve("foal"), resolve("foal-base")
    assert meant.generator == next(iter(meant.manifest.generators)) and base.generator == "base"
    assert meant.folder == base.folder


def test_the_foal_is_available_by_name():
    assert available() == ["foal", "foal-base"]
