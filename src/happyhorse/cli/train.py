"""``happyhorse train``: runs a training recipe."""

from __future__ import annotations

from pathlib import Path


def train_recipe(name: str, out: Path | None, resume: bool, device: str | None, minutes: float | None) -> int:
    """Trains the recipe ``name`` into ``out`` and returns the exit code."""
    from happyhorse.training.run import train

    return train(name, out or Path("runs") / name, resume=resume, device=device, minutes=minutes) or 0
