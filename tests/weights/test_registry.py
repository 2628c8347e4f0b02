import pytest

from happyhorse.errors import WeightsError
from happyhorse.weights.catalogue import MODELS
from happyhorse.weights.registry import ENTRIES, Model, available, is_public, public, resolve


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(WeightsError, match=r"'pony'.*foal.*magihuman-base.*magihuman-1080p"):
        resolve("pony")


def test_public_weights_that_are_not_here_say_how_to_get_them(models, lay):
    for name in ("magihuman-base", "magihuman-540p"):
        with pytest.raises(WeightsError, match=rf"{name} is not here; get it with: happyhorse pull {name} \(.*GiB"):
            resolve(name)
        with pytest.raises(WeightsError, match="is not here"):
            public(name)
    lay(models, MODELS[0].parts["text"])
    with pytest.raises(WeightsError, match=r"not here as a whole \(lacks magihuman-base, wan-vae.*happyhorse pull"):
        resolve("magihuman-base")


def test_public_weights_that_are_here_are_folders_by_role(models, lay):
    lay(models, *MODELS[0].parts.values())
    weights = public("magihuman-base")
    assert weights.model == MODELS[0]
    assert weights.folders["transformer"] == models / "magihuman-base"
    assert weights.folders["text"] == models / "t5gemma"
    assert set(weights.folders) == set(MODELS[0].parts)
    with pytest.raises(WeightsError, match=r"does not work with magihuman-base, only with models such as foal"):
        resolve("magihuman-base")


def test_which_names_mean_public_weights(tiny_model):
    public_names = [entry.name for entry in ENTRIES if is_public(entry.name)]
    assert public_names == ["magihuman-base", "magihuman-distill", "magihuman-540p", "magihuman-1080p"]
    assert not is_public("foal") and not is_public("t5gemma") and not is_public(tiny_model)
    assert all(("pull" in entry.needs) == is_public(entry.name) for entry in ENTRIES)


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
