"""What the machine can be asked for."""

import torch

from happyhorse.training.machine import can_compile


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not can_compile(torch.device("cpu"))
