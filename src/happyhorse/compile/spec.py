"""What is asked of the compiler, in one value that can be written down, compared and hashed."""

from __future__ import annotations

import dataclasses

from happyhorse.config import Config
from happyhorse.errors import ConfigError

SCOPES = ("off", "block", "full")
ATTENTIONS = ("plain", "auto", "dense", "range", "products", "products-bf16", "flex", "cudnn", "flash", "fa3")
LINEARS = ("as-is", "onednn", "bf16", "int8", "fp8")


@dataclasses.dataclass(frozen=True)
class CompileSpec(Config):
    """How a model is made fast. The default changes no number by more than the order of sums does."""

    scope: str = "block"
    """"off": eager; "block": every kind of layer is one graph, which alike layers share; "full": the whole denoising
    step is one graph, fused across layers, and takes longer to compile."""
    dynamic: bool = True
    """Whether one graph serves all numbers of rows; else each size is compiled on its own."""
    attention: str = "auto"
    """Way to compute attention: "plain" is the model's own, "auto" the fastest here that gives the same numbers; the
    others are those of ``compile.attention``."""
    linear: str = "as-is"
    """Number format of the block matrices: "as-is" as the model holds them, "onednn" float32 by another library,
    "bf16", or eight bits dynamically ("int8", "fp8"), which change the numbers by more than rounding."""
    graphs: bool = False
    """Whether a GPU replays a step's kernels as one CUDA graph."""

    def __post_init__(self) -> None:
        self._one_of("scope", SCOPES)
        self._one_of("attention", ATTENTIONS)
        self._one_of("linear", LINEARS)

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        if getattr(self, name) not in allowed:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")
