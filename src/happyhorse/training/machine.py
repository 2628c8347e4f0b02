"""The machine at hand, made ready for training."""

from __future__ import annotations

import os

import torch


def prepare_machine(device: torch.device) -> None:
    """All cores for the matrix products, and the GPU's fast ones where float32 is asked for."""
    if device.type == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
    else:
        torch.set_float32_matmul_precision("high")
