"""The moving average of a model's weights: what a run keeps in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average in float32, its decay warmed up as (1 + n) / (10 + n) so that it forgets the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self.values: list[Tensor] = [p.detach().float().clone() for p in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average toward the model's present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.values, [p.float() for p in self._parameters], 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begins again from the model's present weights."""
        self.updates = 0
        torch._foreach_copy_(self.values, [p.float() for p in self._parameters])

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the average inside of the block, and its own weights again after it."""
        own = [p.detach().clone() for p in self._parameters]
        self.assign(self.values)
        try:
            yield
        finally:
            self.assign(own)

    @torch.no_grad()
    def assign(self, values: list[Tensor] | None = None) -> None:
        """Gives the model ``values``: the average, unless others are given."""
        values = self.values if values is None else values
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, object]:
        return {"updates": self.updates, "values": self.values}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        self.updates = state["updates"]
        for value, stored in zip(self.values, state["values"], strict=True):
            value.copy_(stored)
