"""MLPs over a few thousand rows at a time: the same numbers, without their inner rows for the whole sequence.

At 1080p an MLP of the 15.3 B model holds 65,700 rows of 27,304 values in float32, 7 GB and as much again for what is
made of them; rows do not depend on each other, so they need not all be there at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from happyhorse.model.sequence import Spans
from happyhorse.model.transformer import MLP


class RowChunks(nn.Module):
    """An MLP over ``rows`` rows at a time."""

    def __init__(self, mlp: MLP, rows: int) -> None:
        super().__init__()
        self.mlp, self.rows = mlp, rows

    def forward(self, hidden: Tensor, spans: Spans) -> Tensor:
        """hidden [B, N, hidden], same shape out."""
        total = hidden.shape[1]
        if total <= self.rows:
            return self.mlp(hidden, spans)
        result = torch.empty_like(hidden)
        for start in range(0, total, self.rows):
            stop = min(start + self.rows, total)
            result[:, start:stop] = self.mlp(hidden[:, start:stop], cut(spans, start, stop))
        return result


def cut(spans: Spans, start: int, stop: int) -> Spans:
    """The spans of rows start .. stop - 1."""
    found, first = [], 0
    for modality, rows in spans:
        inside = min(stop, first + rows) - max(start, first)
        if inside > 0:
            found.append((modality, inside))
        first += rows
    return tuple(found)


def chunk_rows(layers: nn.ModuleList, rows: int) -> None:
    """Makes every layer's MLP work on ``rows`` rows at a time, in place."""
    for layer in layers:
        layer.mlp = RowChunks(layer.mlp, rows)  # type: ignore[assignment, arg-type]
