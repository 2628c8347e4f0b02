"""What a pass of a model asks for: operations and bytes, counted call by call, told by part.

Products of matrices and attention have the formulas of ``torch.utils.flop_counter`` (two operations for a multiply and
an add); of everything else, each number that comes out counts as one operation. Bytes are those of the tensors that a
call reads and writes, caches aside; views cost nothing. Counting runs the plain model, or one on the meta device.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from happyhorse.model.transformer import Layer, Transformer

LINEARS, ATTENTION, ELEMENTWISE, HEADS = "linears", "attention", "norms, elementwise", "adapters, heads"
PARTS: tuple[str, ...] = (LINEARS, ATTENTION, ELEMENTWISE, HEADS)
"""The block's matrices (with what casts and parts their rows), its attention (with what prepares keys for it), all
between them, and what is around the block."""
At = Callable[[str], AbstractContextManager]
"""Entered for as long as a pass is at a part."""


@dataclasses.dataclass(frozen=True)
class Count:
    """What one part of a pass asks for."""

    part: str
    flops: int
    """Operations."""
    moved: int
    """Bytes read and written."""
    calls: int
    """Operators called, views aside."""

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / max(self.moved, 1)


def count(model: Transformer, run: Callable[[], object]) -> list[Count]:
    """What ``run``, which calls ``model``, asks for by part."""
    with torch.no_grad(), _Counting() as counting, told(model, counting.at):
        run()
    return [Count(part, *counting.totals[part]) for part in PARTS]


# ----------------------------------------------------------------------------------------------------- where a pass is
@contextlib.contextmanager
def told(model: Transformer, at: At) -> Iterator[None]:
    """While inside, a pass of ``model`` enters ``at(part)`` for its block and, in it, for matrices and attention.

    What is outside of all of them belongs to HEADS.
    """
    with contextlib.ExitStack() as wrapped:
        wrapped.enter_context(_around(model.block, "forward", ELEMENTWISE, at))
        for layer in model.block.layers:
            assert isinstance(layer, Layer)
            attention, mlp = layer.attention, layer.mlp
            wrapped.enter_context(_around(attention, "mix", ATTENTION, at))
            for linear in (attention.linear_qkv, attention.linear_proj, mlp.up_gate_proj, mlp.down_proj):
                wrapped.enter_context(_around(linear, "forward", LINEARS, at))
        yield


@contextlib.contextmanager
def _around(owner: Any, name: str, place: str, at: At) -> Iterator[None]:
    """The method ``name`` of one object runs inside ``at(place)``; afterwards the object is as it was."""
    method, before = getattr(owner, name), owner.__dict__.get(name)

    def inside(*arguments: Any, **options: Any) -> Any:
        with at(place):
            return method(*arguments, **options)

    owner.__dict__[name] = inside
    try:
        yield
    finally:
        del owner.__dict__[name]
        if before is not None:
            owner.__dict__[name] = before


# ------------------------------------------------------------------------------------------------------------ counting
class _Counting(TorchDispatchMode):
    """Adds up [operations, bytes, calls] by part."""

    def __init__(self) -> None:
        super().__init__()
        self.totals: dict[str, list[int]] = {part: [0, 0, 0] for part in PARTS}
        self._places = [HEADS]

    @contextlib.contextmanager
    def at(self, place: str) -> Iterator[None]:
        self._places.append(place)
        try:
            yield
        finally:
            self._places.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # In inference mode, operators that are made of others come here whole: what they are made of is counted.
        with self:
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = func(*args, **kwargs)
        if not _is_view(func):
            total = self.totals[self._places[-1]]
            total[0] += _flops(func, args, kwargs, result)
            total[1] += _bytes((args, kwargs)) + _bytes(result)
            total[2] += 1
        return result


def _is_view(func: Any) -> bool:
    """Whether an operator only looks at its input in another way."""
    aliases = [returned.alias_info for returned in func._schema.returns]
    return func._opname == "_unsafe_view" or any(alias and not alias.is_write for alias in aliases)


def _flops(func: Any, args: Any, kwargs: Any, result: Any) -> int:
    formula = _OURS.get(func._opname)
    if formula:
        return formula(*args)
    known = flop_registry.get(func._overloadpacket)
    if known:
        return known(*args, **kwargs, out_val=result)
    return sum(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))


def _bytes(values: Any) -> int:
    return sum(leaf.nbytes for leaf in tree_leaves(values) if isinstance(leaf, Tensor))


_OURS: dict[str, Callable[..., int]] = {
    "_scaled_dot_product_flash_attention_for_cpu": lambda q, k, v, *_: sdpa_flop_count(q.shape, k.shape, v.shape),
    "_int_mm": lambda a, b: 2 * a.shape[0] * a.shape[1] * b.shape[1],
}
"""What torch does not count by itself."""
