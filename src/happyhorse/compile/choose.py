"""Whether a model is compiled: never so that a person waits longer than without.

Loading a package takes milliseconds; making one takes as long as dozens of clips of the foal. So a model is compiled
if a package is at hand, or if the work at hand is so long that what is saved pays for the compiling twice over. Else it
is prepared: products by the faster library, which takes no time and gives its numbers up to rounding.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch

from happyhorse.compile import linears
from happyhorse.compile.machine import has_fast_bfloat16
from happyhorse.compile.products import serves
from happyhorse.compile.spec import CompileSpec
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.transformer import Transformer

ASKED = ("auto", "off", "max")
PREPARED = CompileSpec(scope="off", attention="auto", linear="onednn")
"""A model that is not compiled, with the products that its processor is fastest with."""
SAVED = 0.2
"""Share of the eager time that compiled code saves at least: it is 1.25 times as fast, or more."""
MARGIN = 2.0
"""What is saved must be so many times what compiling takes, as both are estimates."""
OPERATIONS_PER_CORE = 1e11
"""Floating-point operations a second on a core, and on a GPU: high, so that work is rather thought too short."""
OPERATIONS_GPU = 5e14


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is done, and why, in a line."""

    way: Literal["eager", "load", "build"]
    why: str


def check_asked(asked: str) -> str:
    """The way that is asked for. Raises ConfigError if there is none such."""
    if asked not in ASKED:
        raise ConfigError(f"compile is {asked!r}; it must be one of {', '.join(ASKED)}")
    return asked


def choose(asked: str, *, packaged: bool, missing: str, work: float, compiling: float) -> Choice:
    """What to do for work of so many seconds (estimated, eager), if making a package takes ``compiling`` seconds.

    ``missing`` says what compiling lacks on this machine, empty if nothing.
    """
    if check_asked(asked) == "off":
        return Choice("eager", "not compiled, as asked")
    if packaged:
        return Choice("load", "compiled: a package is at hand")
    if missing:
        return Choice("eager", f"not compiled: no package is at hand, and making one needs {missing}")
    if asked == "max":
        return Choice("build", f"compiling first, as asked: about {compiling:.0f} s, once")
    saved = SAVED * work
    if saved >= MARGIN * compiling:
        return Choice("build", f"compiling first: it takes about {compiling:.0f} s and saves about {saved:.0f} s")
    return Choice("eager", f"not compiled: it would take about {compiling:.0f} s and save about {saved:.1f} s")


def spec_of(asked: str, config: ModelConfig, device: torch.device) -> CompileSpec:
    """How a model is compiled. "auto" keeps the numbers to rounding in float32, "max" trades some of it for speed.

    "auto" also keeps the model's own attention: a way that compilers cannot look into costs a call of Python in every
    layer, which short clips feel more than they gain (64 px, 1 s: 1.2 instead of 1.8 times as fast as eager).
    """
    if asked != "max":
        return CompileSpec(scope="full", attention="plain")
    return CompileSpec(scope="full", attention="auto", linear=_fastest(config, device), graphs=device.type == "cuda")


def prepared(model: Transformer) -> CompileSpec | None:
    """How a model that is not compiled is prepared; None where that is no faster: on GPUs, in other number formats, and
    without oneDNN."""
    return PREPARED if linears.choose(model) == PREPARED.linear else None


def _fastest(config: ModelConfig, device: torch.device) -> str:
    """The number format of "max": bfloat16 where the machine is fast with it, else float32 by the faster library."""
    if config.matmul_dtype != "float32":
        return "as-is"
    if has_fast_bfloat16(device):
        return "bf16"
    return "onednn" if device.type == "cpu" and serves(torch.float32) else "as-is"


# ---------------------------------------------------------------------------------------------------------- estimates
def work_seconds(config: ModelConfig, rows: int, text: int, passes: int, device: torch.device) -> float:
    """What so many passes over ``rows`` rows, with ``text`` cached ones, take at least."""
    fast = OPERATIONS_GPU if device.type == "cuda" else OPERATIONS_PER_CORE * torch.get_num_threads()
    return passes * operations(config, rows, text) / fast


def operations(config: ModelConfig, rows: int, text: int = 0) -> float:
    """Floating-point operations of the products in one pass; attention as if all layers were dense."""
    query, key = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
    attention = config.hidden * (query + 2 * key) + query * config.hidden
    plain, gated = 2 * config.hidden * config.gelu7_width, 3 * config.hidden * config.swiglu7_width
    weights = sum(attention + (plain if layer in config.gelu7_layers else gated) for layer in range(config.layers))
    return 2.0 * rows * weights + 4.0 * rows * (rows + text) * query * config.layers


def compiling_seconds(config: ModelConfig) -> float:
    """What compiling a whole step takes on one free core: 37 s for the foal's ten layers."""
    return 7 + 3.0 * config.layers
