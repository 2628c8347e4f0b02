"""What the machine at hand can compile for, and what it is fast with."""

from __future__ import annotations

import importlib.util
import platform
import shutil

import torch

GRAPHS = 256
"""Most graphs of one function."""


def can_compile(device: torch.device) -> bool:
    """Whether ``torch.compile`` finds what it needs: a C++ compiler for a CPU, Triton for a GPU."""
    return not missing_tool(device)


def missing_tool(device: torch.device) -> str:
    """What compiling for the device lacks here, in words; empty if nothing."""
    if not any(shutil.which(name) for name in ("g++", "clang++", "c++")):
        # Packages for a GPU hold a little C++ as well, but torch.compile alone does without.
        return "a C++ compiler" if device.type == "cpu" else _triton()
    return "" if device.type == "cpu" else _triton()


def allow_graphs() -> None:
    """Lets torch keep more graphs of one function than the few it does: kinds of layers x forms, or x sizes."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)


def _triton() -> str:
    return "" if importlib.util.find_spec("triton") else "Triton"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the machine multiplies bfloat16 natively: GPUs, and CPUs with AVX512-BF16 or AMX.

    It is 4.5 times as fast as float32 there, and slower than float32 on other CPUs.
    """
    if device.type != "cpu":
        return True
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()


def processor(device: torch.device) -> str:
    """What machine code for the device depends on: two devices with the same words can run each other's."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        version = torch.version.cuda or torch.version.hip
        return f"{torch.cuda.get_device_name(device)}, {major}.{minor}, {version}"
    if (march := instructions()) is None:
        # The compiler is left to use all that this very processor has.
        return f"{platform.machine()} {platform.processor() or platform.node()}"
    beyond = {"vnni": torch.cpu._is_vnni_supported(), "amx": torch.cpu._is_amx_tile_supported()}
    return "+".join([march, *(name for name, there in beyond.items() if there)])


def instructions() -> str | None:
    """The level of x86-64 that code is made for, so that it runs on all processors of that level; None: this one's."""
    if platform.machine().lower() not in ("x86_64", "amd64") or _torch_version() < (2, 13):
        return None  # other processors have no such levels, and torch before 2.13 cannot be told one
    return {"AVX512": "x86-64-v4", "AVX2": "x86-64-v3"}.get(torch.backends.cpu.get_cpu_capability())


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)
