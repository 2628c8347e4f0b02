"""The device that is asked for."""

import pytest
import torch

from happyhorse.device import find_device
from happyhorse.errors import ConfigError


def test_a_device_that_is_not_there_is_named():
    assert find_device("cpu") == find_device(None) == torch.device("cpu")
    with pytest.raises(ConfigError, match="abacus"):
        find_device("abacus")
