"""happyhorse: one Transformer that turns a prompt into a video and its sound together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from happyhorse.clip import Clip
    from happyhorse.sampling.pipeline import Pipeline

__version__ = "0.1.0"
__all__ = ["Clip", "Pipeline", "__version__"]


def __getattr__(name: str) -> Any:
    """Public names are imported when first asked for: ``import happyhorse`` alone costs no torch."""
    if name == "Clip":
        return import_module("happyhorse.clip").Clip
    if name == "Pipeline":
        return import_module("happyhorse.sampling.pipeline").Pipeline
    raise AttributeError(f"module 'happyhorse' has no attribute {name!r}")
