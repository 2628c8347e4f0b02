"""The device that is asked for, if this machine has it."""

from __future__ import annotations

import torch

from happyhorse.errors import ConfigError


def find_device(asked: torch.device | str | None, otherwise: str = "cpu") -> torch.device:
    """The device ``asked`` for, or ``otherwise`` if none is. Raises ConfigError if this machine does not have it."""
    try:
        return torch.zeros((), device=asked or otherwise).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"device {str(asked)!r} cannot be used here ({reason}); leave it out to use the CPU"
        ) from error


def best_device() -> str:
    """The device to train on: a GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"
