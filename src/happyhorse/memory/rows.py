"""Layers over a few thousand rows at a time: the same numbers, without their inner rows for the whole sequence.

At 1080p an MLP of the 15.3 B model holds 65,700 rows of 27,304 values in float32, 7 GB, and as much again for what is
made of them; queries, keys and values are 2 GB in float32 before they become half of that. Rows do not depend on each
other but in the attention, so nothing else need be there for all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from happyhorse.model.sequence import Layout, Spans
from happyhorse.model.transformer import MLP, Attention, TextRows


class ChunkedMLP(nn.Module):
    """An MLP over ``rows`` rows at a time."""

    def __init__(self, mlp: MLP, rows: int) -> None:
        super().__init__()
        self.mlp, self.rows = mlp, rows

    def forward(self, hidden: Tensor, spans: Spans) -> Tensor:
        """hidden [B, N, hidden], same shape out."""
        if hidden.shape[1] <= self.rows:
            return self.mlp(hidden, spans)
        result = torch.empty_like(hidden)
        for part, own in chunks(spans, self.rows):
            result[:, part] = self.mlp(hidden[:, part], own)
        return result


class ChunkedAttention(nn.Module):
    """An attention whose projections work on ``rows`` rows at a time, between them every row sees every other."""

    def __init__(self, attention: Attention, rows: int) -> None:
        super().__init__()
        self.attention, self.rows = attention, rows

    def forward(self, hidden: Tensor, layout: Layout, text: TextRows | None = None) -> tuple[Tensor, TextRows]:
        """As ``Attention.forward``; keys and values come in the dtype of the attention."""
        attention = self.attention
        if hidden.shape[1] <= self.rows or text is not None:
            return attention(hidden, layout, text)
        q, k, v, gate = self._project(hidden, layout)
        mixed, result = attention.mix(q, k, v, layout), torch.empty_like(hidden)
        for part, own in chunks(layout.spans, self.rows):
            result[:, part] = attention.finish(mixed[:, part], gate[:, part], own)
        return result, (k, v)

    def _project(self, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values of all rows in the dtype of the attention, and the gates' input."""
        attention, (batch, rows, _) = self.attention, hidden.shape
        query, key, _, gates = attention.widths
        heads = [width // attention.head_dim for width in (query, key, key)]
        dtype = attention.linear_qkv.dtype
        found = [hidden.new_empty(batch, rows, count, attention.head_dim, dtype=dtype) for count in heads]
        found.append(hidden.new_empty(batch, rows, gates))
        for part, own in chunks(layout.spans, self.rows):
            cos, sin = layout.cos[:, part], layout.sin[:, part]
            for whole, values in zip(found, attention.project(hidden[:, part], own, cos, sin), strict=True):
                whole[:, part] = values
        return found[0], found[1], found[2], found[3]


def chunks(spans: Spans, rows: int) -> Iterator[tuple[slice, Spans]]:
    """The rows of ``spans`` in slices of at most ``rows``, each with its own spans."""
    total = sum(count for _, count in spans)
    for start in range(0, total, rows):
        stop = min(start + rows, total)
        yield slice(start, stop), cut(spans, start, stop)


def cut(spans: Spans, start: int, stop: int) -> Spans:
    """The spans of rows start .. stop - 1."""
    found, first = [], 0
    for modality, rows in spans:
        inside = min(stop, first + rows) - max(start, first)
        if inside > 0:
            found.append((modality, inside))
        first += rows
    return tuple(found)


def plain_name(name: str) -> str:
    """What a layer's tensor is called without the chunks around its parts."""
    return name.replace("attention.attention.", "attention.").replace("mlp.mlp.", "mlp.")


def chunk_rows(layers: nn.ModuleList, rows: int) -> None:
    """Makes every layer work on ``rows`` rows at a time, in place."""
    for layer in layers:
        layer.mlp = ChunkedMLP(layer.mlp, rows)  # type: ignore[assignment, arg-type]
        layer.attention = ChunkedAttention(layer.attention, rows)  # type: ignore[assignment, arg-type]
