"""Low-rank stacks beside frozen weights (Hu et al. 2021, "LoRA", arXiv 2106.09685): several models on one backbone.

Every block matrix W gets, for each named stack, a pair (down, up) so that the stack's model has W + up down. ``up``
begins at zero: every stack begins as the backbone. One stack, or none, is active at a time.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.model.sequence import Spans, by_modality
from happyhorse.model.transformer import ALL, BlockLinear, Transformer


class LoraLinear(nn.Module):
    """Stands in for a BlockLinear; copies for modalities have low-rank pairs of their own."""

    def __init__(self, base: BlockLinear, rank: int, stacks: Sequence[str]) -> None:
        super().__init__()
        self.base, self.dtype, self.copies = base, base.dtype, base.copies
        self.active: str | None = None
        down = {name: torch.empty(base.copies, rank, base.inputs) for name in stacks}
        self.down = nn.ParameterDict({name: nn.Parameter(_normal(value)) for name, value in down.items()})
        self.up = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(base.copies, base.outputs, rank)) for name in stacks}
        )

    def forward(self, x: Tensor, spans: Spans, outputs: slice = ALL) -> Tensor:
        product = self.base(x, spans, outputs)
        if self.active is None:
            return product
        down, up = self.down[self.active], self.up[self.active]

        def correction(rows: Tensor, modality: int) -> Tensor:
            return F.linear(F.linear(rows, down[modality].to(rows)), up[modality][outputs].to(rows)).float()

        x = x.to(self.dtype)
        return product + (correction(x, 0) if self.copies == 1 else by_modality(x, spans, correction))

    def merged(self, name: str) -> Tensor:
        """The weight of a stack's model, of the shape of the backbone's."""
        change = self.up[name] @ self.down[name]
        return self.base.weight + change.flatten(0, 1).to(self.base.weight)


def _normal(weight: Tensor) -> Tensor:
    """Unit variance in, unit variance out."""
    return nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)


def add_stacks(model: Transformer, rank: int, stacks: Sequence[str]) -> list[LoraLinear]:
    """Freezes a model and puts low-rank stacks beside its block matrices; returns them."""
    model.requires_grad_(False)
    added = []
    for parent in list(model.block.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BlockLinear):
                lora = LoraLinear(child, rank, stacks).to(child.weight.device)
                setattr(parent, name, lora)
                added.append(lora)
    return added


@contextlib.contextmanager
def activated(layers: Sequence[LoraLinear], name: str | None) -> Iterator[None]:
    """The layers answer with a stack, or with none of them, inside of the block."""
    before = [layer.active for layer in layers]
    for layer in layers:
        layer.active = name
    try:
        yield
    finally:
        for layer, was in zip(layers, before, strict=True):
            layer.active = was


def same_stack(layers: Sequence[LoraLinear]) -> Callable[[], AbstractContextManager[None]]:
    """Surroundings for recomputation: a backward pass, when no stack is active, goes on with the one of its forward
    pass."""
    return lambda: activated(layers, layers[0].active)


class Stacked(nn.Module):
    """One of the models on a backbone: answers as a Transformer does. Its parameters are those of its stack alone.

    ``name`` None is the backbone itself.
    """

    def __init__(self, backbone: Transformer, layers: Sequence[LoraLinear], name: str | None) -> None:
        super().__init__()
        self._shared = (backbone, tuple(layers))  # a tuple, so that the backbone is not registered as a part
        self.name, self.config, self.layout = name, backbone.config, backbone.layout
        if name is not None:
            self.down = nn.ParameterList(layer.down[name] for layer in layers)
            self.up = nn.ParameterList(layer.up[name] for layer in layers)

    def forward(self, *arguments, **options):
        with self.active():
            return self._shared[0](*arguments, **options)

    def encode_text(self, *arguments):
        with self.active():
            return self._shared[0].encode_text(*arguments)

    def active(self) -> AbstractContextManager[None]:
        """The backbone answers with this stack inside of the block."""
        return activated(self._shared[1], self.name)

    def merged(self) -> Transformer:
        """A plain model with the same answers."""
        model = copy.deepcopy(self._shared[0])
        for parent in list(model.block.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, LoraLinear):
                    plain = child.base
                    if self.name is not None:
                        plain.weight.data = child.merged(self.name).detach()
                    setattr(parent, name, plain)
        return model
