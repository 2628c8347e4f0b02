import json

import pytest

from happyhorse.config import ModelConfig, foal, magihuman_15b
from happyhorse.errors import ConfigError


@pytest.mark.parametrize("config", [foal(), magihuman_15b(), foal(local_layers=(1, 2))])
def test_a_config_survives_a_file(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_key_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match="hiden"):
        foal(hiden=128)
    with pytest.raises(ConfigError, match="dropout"):
        foal().replace(dropout=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": "elementwise"}, "per-head, none"),
        ({"attention": "linear"}, "softmax, sigmoid"),
        ({"text": "bytes"}, "tokens, features"),
        ({"timestep": "yes"}, "none, embedded"),
        ({"coordinates": "v3"}, "foal, v2, v1"),
        ({"matmul_dtype": "float16"}, "float32, bfloat16"),
        ({"head_dim": 20}, "multiple of 8"),
        ({"query_heads": 5}, "5 query heads"),
        ({"local_layers": (10,)}, "0 to 9"),
        ({"text": "features", "language_head": True}, "tokens"),
    ],
)
def test_values_outside_their_range_are_errors_that_name_the_range(change, message):
    with pytest.raises(ConfigError, match=message):
        foal(**change)


def test_the_sandwich_has_specific_layers_outside():
    config = foal(specific_first=2, shared=3, specific_last=1)
    assert [config.is_specific(layer) for layer in range(config.layers)] == [True, True, False, False, False, True]


def test_published_widths():
    config = magihuman_15b()
    assert (config.layers, config.gelu7_width, config.swiglu7_width, config.bands) == (40, 20480, 13652, 16)
