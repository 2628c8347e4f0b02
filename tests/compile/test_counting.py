from typing import Any

import torch

from happyhorse.compile.counting import ATTENTION, ELEMENTWISE, HEADS, LINEARS, Count, count, told
from happyhorse.config import ModelConfig, foal
from happyhorse.model.quantised import quantise
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

SMALL = foal(hidden=32, head_dim=8, query_heads=4, kv_heads=2, shared=1, text_vocab=32)
FRAMES, SIDE, WORDS = 3, 4, 5
VIDEO, AUDIO = FRAMES * (SIDE // 2) ** 2, 4 * FRAMES - 3
ROWS = VIDEO + AUDIO


def counted(config: ModelConfig = SMALL, kind: str | None = None, mode: Any = torch.no_grad) -> dict[str, Count]:
    model = Transformer(config).eval()
    if kind:
        quantise(model, kind, dynamic=True, skip=())
    latents = Latents(torch.randn(1, 48, FRAMES, SIDE, SIDE), torch.randn(1, AUDIO, 64))
    with mode():
        memory = model.encode_text(Text(torch.ones(1, WORDS, dtype=torch.int64), torch.tensor([WORDS])))
        layout = model.layout(latents, memory)
        return {one.part: one for one in count(model, lambda: model(latents, memory, layout))}


def matrices(config: ModelConfig) -> int:
    """Elements of the block matrices that serve a row."""
    query, key = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
    attention = config.hidden * (query + 2 * key + config.query_heads) + query * config.hidden
    gated = 3 * config.hidden * config.swiglu7_width
    plain = 2 * config.hidden * config.gelu7_width
    return sum(attention + (plain if i in config.gelu7_layers else gated) for i in range(config.layers))


def test_linears_are_two_operations_for_each_weight_and_row():
    assert counted()[LINEARS].flops == 2 * ROWS * matrices(SMALL) + _joins(SMALL)


def _joins(config: ModelConfig) -> int:
    """Numbers that layers with weights of their own join from the modalities, and the copies of their weights."""
    query, key = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
    qkv, proj, down = query + 2 * key + config.query_heads, config.hidden, config.hidden
    up = [config.gelu7_width if i in config.gelu7_layers else 2 * config.swiglu7_width for i in range(config.layers)]
    return sum(ROWS * (qkv + proj + down + up[i]) for i in range(config.layers) if config.is_specific(i))


def test_attention_is_two_products_over_all_keys():
    query = SMALL.query_heads * SMALL.head_dim
    products = SMALL.layers * 4 * ROWS * (ROWS + WORDS) * query
    repeated = SMALL.layers * 2 * (ROWS + WORDS) * query  # keys and values, for every query head
    assert counted()[ATTENTION].flops == products + repeated


def test_inference_mode_counts_the_same():
    assert counted(mode=torch.inference_mode) == counted()


def test_windows_ask_for_less_attention_and_nothing_else():
    plain, near = counted(), counted(SMALL.replace(local_layers=(0, 1, 2), receptive_field=0))
    assert near[ATTENTION].flops < plain[ATTENTION].flops
    assert near[LINEARS] == plain[LINEARS]
    assert near[ELEMENTWISE] == plain[ELEMENTWISE]


def test_views_cost_nothing_and_numbers_their_bytes():
    model = Transformer(SMALL).eval()
    x = torch.ones(10, 10)
    (heads,) = [one for one in count(model, lambda: x.view(100)[:50].t() + 1) if one.part == HEADS]
    assert (heads.flops, heads.moved, heads.calls) == (50, 2 * 4 * 50, 1)
    assert heads.intensity == 50 / 400


def test_bytes_of_eight_bit_weights_are_fewer():
    plain, narrow = counted(), counted(kind="int8")
    assert narrow[LINEARS].flops > 2 * ROWS * matrices(SMALL)
    assert narrow[HEADS] == plain[HEADS]


def test_a_model_is_left_as_it_was():
    model = Transformer(SMALL).eval()
    before = [dict(module.__dict__) for module in model.modules()]
    model.block.layers[0].attention.mix = marked = lambda *_: None  # as a faster attention would be put in
    with told(model, lambda part: torch.profiler.record_function(part)):
        assert model.block.layers[0].attention.mix is not marked
    assert model.block.layers[0].attention.mix is marked
    del model.block.layers[0].attention.mix
    assert [set(module.__dict__) for module in model.modules()] == [set(one) for one in before]
