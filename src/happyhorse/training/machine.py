"""The machine at hand, made ready for training."""

from __future__ import annotations

import os

import torch

from happyhorse.compile.heap import keep_freed_memory


def prepare_machine(device: torch.device) -> None:
    """All cores for the matrix products, the GPU's fast ones where float32 is asked for, and freed memory kept."""
    keep_freed_memory()
    if device.type == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
    else:
        torch.set_float32_matmul_precision("high")
