"""What the machine can be asked for."""

import torch

from happyhorse.compile.machine import can_compile, instructions, missing_tool, processor

CPU = torch.device("cpu")


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert not can_compile(CPU)
    assert missing_tool(CPU) == "a C++ compiler"


def test_machine_code_is_told_apart_by_what_processors_have(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch, "__version__", "2.13.0")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    words = set()
    for level in ("AVX2", "AVX512"):
        for vnni in (False, True):
            monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda level=level: level)
            monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda vnni=vnni: vnni)
            words.add(processor(CPU))
    assert words == {"x86-64-v3", "x86-64-v3+vnni", "x86-64-v4", "x86-64-v4+vnni"}


def test_other_processors_run_only_what_was_made_for_them(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("platform.processor", lambda: "some chip")
    assert instructions() is None
    assert processor(CPU) == "aarch64 some chip"


def test_before_2_13_code_is_made_for_this_very_processor(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    assert instructions() is None
