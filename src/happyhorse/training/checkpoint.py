"""Checkpoints: everything a run needs to go on as if it had never stopped.

No random state is kept, because everything random in a run is a function of its seed and the number of the step.
"""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from happyhorse.errors import ConfigError, WeightsError
from happyhorse.files import whole_file
from happyhorse.training.ema import Average
from happyhorse.training.optimizer import Optimizers

KEPT = 2


@dataclasses.dataclass
class TrainState:
    """A run at a moment: what changes with every step."""

    model: nn.Module
    optimizers: Optimizers
    average: Average
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Time spent on them, over all sessions."""
    timed: bool = False
    """Whether the model is told the noise level."""

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "average": self.average.state_dict(),
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        self.model.load_state_dict(values["model"])
        self.optimizers.load_state_dict(values["optimizers"])
        self.average.load_state_dict(values["average"])
        self.step, self.seconds = values["step"], values["seconds"]


class State(Protocol):
    """What can be kept in a checkpoint."""

    step: int

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, values: dict[str, Any]) -> None: ...


def save(folder: Path, state: State, fingerprint: str) -> Path:
    """Writes ``checkpoint-<step>.pt``, whole or not at all, then removes all but the newest two."""
    path = folder / f"checkpoint-{state.step:08d}.pt"
    with whole_file(path) as temporary:
        torch.save({"fingerprint": fingerprint, **state.state_dict()}, temporary)
    for old in checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def remove(folder: Path) -> None:
    """Removes the checkpoints of a run that is started again."""
    for path in checkpoints(folder):
        path.unlink()


def restore(folder: Path, state: State, fingerprint: str) -> bool:
    """Loads the newest checkpoint into ``state``; False if there is none.

    Raises ConfigError if it belongs to another recipe, WeightsError if it is damaged.
    """
    paths = checkpoints(folder)
    if not paths:
        return False
    values = _read(paths[-1])
    if values["fingerprint"] != fingerprint:
        raise ConfigError(f"{folder} holds a run of another recipe; choose another folder, or start anew (--fresh)")
    state.load_state_dict(values)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} is damaged; remove it to go on from the checkpoint before it") from error
