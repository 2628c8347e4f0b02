"""Less memory in training: what the backward pass needs is made a second time instead of kept.

Layers are changed from outside, and the numbers stay what they are. "cheap" keeps the results of matrix products and
attention, which take nearly all of the time, and makes norms, rotations, gates and activations again (selective
recomputation: Korthikanti et al. 2022, arXiv 2205.05198); "full" keeps a layer's input alone (Chen et al. 2016,
arXiv 1604.06174) and adds a third to the work. ``plan`` chooses for each layer by a budget.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from happyhorse.errors import ConfigError, DeviceMemoryError

MODES = ("none", "cheap", "full")
"""From most memory and least work to least memory and most work."""

Surroundings = Callable[[], AbstractContextManager[object]]
"""Called in the forward pass; what it returns is around the layer when the backward pass runs it again."""


# ------------------------------------------------------------------------------------------------- layers from outside
def recompute_layers(
    layers: Iterable[nn.Module], modes: str | Sequence[str], surroundings: Surroundings | None = None
) -> None:
    """Lets layers keep for the backward pass what their mode says, in place; one mode for all, or one for each.

    Layers whose answer depends on more than inputs and weights need ``surroundings``. Raises ConfigError for an unknown
    mode.
    """
    layers = list(layers)
    for layer, mode in zip(layers, [modes] * len(layers) if isinstance(modes, str) else modes, strict=True):
        if known(mode) != "none":
            # A partial of a bound method, unlike a closure, is copied along with its layer.
            layer.forward = partial(recomputed, layer.forward, mode, surroundings)


def known(mode: str) -> str:
    """The mode. Raises ConfigError if it is none."""
    if mode not in MODES:
        raise ConfigError(f'recompute is "{mode}"; it must be one of {", ".join(MODES)}')
    return mode


def recomputed(forward: Callable[..., Any], mode: str, surroundings: Surroundings | None, *inputs: Any) -> Any:
    """``forward(*inputs)``, keeping what ``mode`` says if there will be a backward pass."""
    if mode == "none" or not torch.is_grad_enabled():
        return forward(*inputs)
    # torch.compile takes the contexts of a selection, or none at all.
    plain = mode == "full" and surroundings is None
    contexts: dict[str, Any] = {} if plain else {"context_fn": partial(_contexts, mode, surroundings)}
    # Nothing in a layer is random, so there is no random state to bring back.
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False, **contexts)


def _contexts(
    mode: str, surroundings: Surroundings | None
) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """What is around the forward pass, and around the same computation in the backward pass."""
    first, again = contextlib.nullcontext(), contextlib.nullcontext()
    if mode == "cheap":
        first, again = create_selective_checkpoint_contexts(_policy)
    return first, again if surroundings is None else _both(surroundings(), again)


@contextlib.contextmanager
def _both(outer: AbstractContextManager[object], inner: AbstractContextManager[object]) -> Iterator[None]:
    with outer, inner:
        yield


# ------------------------------------------------------------------------------------------------------ what is costly
LINEAR = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
BATCHED = (torch.ops.aten.bmm.default, torch.ops.aten.baddbmm.default)


def is_costly(op: Any, inputs: Sequence[Any]) -> bool:
    """Whether a result takes long to make for its size, as those of linear layers and fused attention do.

    A batched product [M, K] [K, N] does if N <= K. Attention written as two products has one of each kind: the scores,
    as wide as there are keys, are made again; the sums of values, as wide as a head, are kept.
    """
    if op in BATCHED:
        left, right = inputs[-2:]
        return right.shape[-1] <= left.shape[-1]
    return op in LINEAR or "attention" in str(op)


def _policy(context: Any, op: Any, *inputs: Any, **options: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if is_costly(op, inputs) else CheckpointPolicy.PREFER_RECOMPUTE


# ------------------------------------------------------------------------------------------------------------ a budget
@dataclasses.dataclass(frozen=True)
class Cost:
    """What a layer costs in a mode."""

    kept: int
    """Bytes that wait for the backward pass."""
    flops: int
    """Operations of the forward and the backward pass, what is made again included."""


def plan(layers: Sequence[Mapping[str, Cost]], budget: int) -> tuple[str, ...]:
    """The mode of every layer, given what each costs in each mode, so that all together keep at most ``budget`` bytes.

    Layers begin at "none" and change where a byte is saved for the fewest operations, the first of equals first, until
    they fit. Raises DeviceMemoryError if they do not fit at "full".
    """
    modes = ["none"] * len(layers)
    while (total := sum(layer[mode].kept for layer, mode in zip(layers, modes, strict=True))) > budget:
        changes = [
            ((new.flops - old.flops) / (old.kept - new.kept), place, mode)
            for place, layer in enumerate(layers)
            for mode, new in layer.items()
            if (old := layer[modes[place]]).kept > new.kept
        ]
        if not changes:
            raise DeviceMemoryError(
                f"with everything recomputed the layers still keep {total:,} bytes and only {budget:,} are free; "
                "take a smaller batch or a smaller clip"
            )
        _, place, mode = min(changes)
        modes[place] = mode
    return tuple(modes)
