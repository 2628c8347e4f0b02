"""What the machine can be asked for."""

import pytest
import torch

from happyhorse.errors import ConfigError
from happyhorse.training.machine import can_compile, choose_device


def test_a_device_that_is_not_there_is_named():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="abacus"):
        choose_device("abacus")


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not can_compile(torch.device("cpu"))
