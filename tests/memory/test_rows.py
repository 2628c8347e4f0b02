import pytest
import torch

from happyhorse.config import ModelConfig
from happyhorse.memory.rows import chunk_rows, chunks, cut
from happyhorse.memory.stream import stream_layers
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

SPANS = ((0, 10), (1, 3), (2, 2))


def test_spans_are_cut_where_the_rows_are():
    assert cut(SPANS, 0, 15) == SPANS
    assert cut(SPANS, 0, 4) == ((0, 4),)
    assert cut(SPANS, 8, 12) == ((0, 2), (1, 2))
    assert cut(SPANS, 9, 15) == ((0, 1), (1, 3), (2, 2))
    assert cut(SPANS, 13, 15) == ((2, 2),)


def test_chunks_cover_every_row_once():
    parts = list(chunks(SPANS, 7))
    assert [part for part, _ in parts] == [slice(0, 7), slice(7, 14), slice(14, 15)]
    assert [own for _, own in parts] == [((0, 7),), ((0, 3), (1, 3), (2, 1)), ((2, 1),)]


@pytest.mark.parametrize("changes", [{}, {"local_layers": (0, 1)}, {"gate": "none"}])
@torch.no_grad()
def test_few_rows_at_a_time_give_the_same_velocity(changes):
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(
            hidden=32,
            head_dim=8,
            query_heads=2,
            kv_heads=1,
            shared=1,
            text="features",
            text_channels=16,
            coordinates="v2",
        ).replace(**changes)
    )
    latents, text = (
        Latents(torch.randn(2, 48, 2, 4, 4), torch.randn(2, 5, 64)),
        Text(torch.randn(2, 3, 16), torch.tensor([3, 2])),
    )
    expected = model(latents, text)
    chunk_rows(model.block.layers, 7)
    stream_layers(model.block.layers, torch.device("cpu"))
    found = model(latents, text)
    torch.testing.assert_close(found.video, expected.video)
    torch.testing.assert_close(found.audio, expected.audio)
