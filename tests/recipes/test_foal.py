"""The foal's recipes."""

import pytest

from happyhorse.codecs.text import Tokenizer
from happyhorse.errors import ConfigError
from happyhorse.recipes.foal import recipe, recipes


@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_caches_the_shapes_that_it_trains_on(name):
    config = recipe(name)
    trained = {shape for stage in config.stages for shape in stage.shapes}
    assert trained == {entry.shape for entry in config.caches}


@pytest.mark.parametrize("name", list(recipes()))
def test_the_model_has_an_embedding_for_every_token(name):
    assert recipe(name).model.text_vocab >= Tokenizer.load().vocab_size


def test_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigError, match="foal-tiny"):
        recipe("pony")
