import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from happyhorse.compile import attention, kernels
from happyhorse.compile.attention import WAYS, FastAttention, choose, measure, use_attention
from happyhorse.compile.ranges import all_keys, dense_mask, near_frames
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, MissingToolError
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CPU = torch.device("cpu")
HERE = [way for way in WAYS if way not in ("flex", "fa3")]
WINDOWS = {"all": all_keys(13, 20), "near": near_frames(13, 20, 5, 10, 1), "own": near_frames(13, 20, 5, 10, 0)}


@pytest.fixture(autouse=True)
def plain_flex(monkeypatch):
    """FlexAttention's own definition: compiling it is for those who time it."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(kernels, "_compiled_flex", lambda: flex_attention)


def heads():
    generator = torch.Generator().manual_seed(0)
    shapes = ((13, 6), (20, 2), (20, 2))
    return tuple(torch.randn(2, *shape, 16, generator=generator) for shape in shapes)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("way", "parts", "masked"),
    [*itertools.product(HERE, WINDOWS, (False, True)), ("flex", "near", False), ("flex", "near", True)],
)
def test_every_way_is_within_its_error(way, parts, masked):
    q, k, v = heads()
    mask = (torch.arange(20) < torch.tensor([[20], [14]]))[:, None, None] if masked else None
    seen = dense_mask(WINDOWS[parts], CPU)
    seen = seen if mask is None else seen & mask
    wide = (x.double().transpose(1, 2) for x in (q, k, v))
    expected = F.scaled_dot_product_attention(*wide, attn_mask=seen, enable_gqa=True).transpose(1, 2)
    made = WAYS[way].attend(WINDOWS[parts], q, k, v, mask).double()
    assert made.shape == q.shape
    assert (made - expected).norm() / expected.norm() < WAYS[way].error


# ------------------------------------------------------------------------------------------------------- into a model
def model(**changes) -> Transformer:
    config = {"hidden": 48, "head_dim": 16, "query_heads": 3, "kv_heads": 1, "shared": 2, "text_vocab": 20}
    torch.manual_seed(0)
    made = Transformer(ModelConfig(**{**config, **changes})).eval().requires_grad_(False)
    for head in (made.final_linear_video, made.final_linear_audio):
        nn.init.normal_(head.weight)
    return made


def given(batch: int = 2) -> tuple[Latents, Text]:
    generator = torch.Generator().manual_seed(1)
    video, audio = torch.randn(batch, 48, 4, 4, 4, generator=generator), torch.randn(batch, 5, 64, generator=generator)
    return Latents(video, audio), Text(torch.arange(4 * batch).view(batch, 4), torch.tensor([4, 3][:batch]))


@pytest.mark.parametrize("way", ["products", "range", "dense", "auto"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"local_layers": (0, 2), "receptive_field": 1},
        {"attention": "sigmoid"},
        {"streams": "crossed"},
        {"gate": "none", "kv_heads": 3},
    ],
)
def test_the_velocity_stays(changes, way):
    plain = model(**changes)
    expected = plain(*given())
    before = set(plain.state_dict())
    use_attention(plain, way)
    made = plain(*given())
    torch.testing.assert_close(made.video, expected.video, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.audio, expected.audio, atol=1e-4, rtol=1e-4)
    assert set(plain.state_dict()) == before and all(isinstance(x.attention, FastAttention) for x in plain.block.layers)


def test_the_way_can_be_changed_again():
    made = model()
    for way in ("products", "dense"):
        use_attention(made, way)
        assert {layer.attention.way for layer in made.block.layers} == {way}


def test_weights_stay_those_of_the_model():
    made, other = model(), model(query_heads=3)
    use_attention(made, "products")
    expected = other.eval()
    for parameter in expected.parameters():
        parameter.mul_(1.1)
    made.load_state_dict(expected.state_dict())
    torch.testing.assert_close(made(*given()).video, expected(*given()).video, atol=1e-4, rtol=1e-4)


def test_training_goes_through_the_model_s_own():
    made = model().requires_grad_(True)
    use_attention(made, "products")
    made(*given()).video.sum().backward()
    assert made.block.layers[0].attention.linear_qkv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("way", ["products", "cudnn"])
def test_a_layer_compiles_as_one_graph(way):
    made, (latents, text) = model(local_layers=(1,), receptive_field=1), given()
    use_attention(made, way)
    rows = made.encode_text(text)
    layout, layer = made.layout(latents, rows), made.block.layers[1].attention
    inputs = torch.randn(2, len(layout.cos[0]), 48), layout, (rows.keys[1], rows.values[1])
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs)[0], layer(*inputs)[0])


def test_what_cannot_be_had_is_said(monkeypatch):
    with pytest.raises(ConfigError, match="'sage' is unknown; it must be one of auto, dense, range"):
        use_attention(model(), "sage")
    kernels.flash_attention_3.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingToolError, match="needs the package kernels"):
        use_attention(model(), "fa3")


def test_products_are_chosen_for_one_thread_where_the_library_serves_them(monkeypatch):
    for served, threads, way in ((True, 1, "products"), (True, 2, "range"), (False, 1, "range")):
        monkeypatch.setattr(attention, "serves", lambda _, served=served: served)
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert choose(CPU, torch.float32) == choose(CPU, torch.bfloat16) == way


def test_measured_ways_are_those_of_the_device_fastest_first():
    found = measure(WINDOWS["near"], (6, 2, 16), CPU, torch.float32, rounds=1)
    assert {one.way for one in found} == set(attention.candidates(CPU))
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)
    assert all(one.error <= WAYS[one.way].error for one in found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU; on CPUs every way is tested above")
@pytest.mark.parametrize("parts", WINDOWS)
@pytest.mark.parametrize("way", ["range", "cudnn", "flash", "flex"])
def test_ways_of_a_gpu(way, parts, monkeypatch):
    monkeypatch.undo()
    q, k, v = (x.cuda().bfloat16() for x in heads())
    expected = WAYS["dense"].attend(WINDOWS[parts], q.float(), k.float(), v.float(), None)
    made = WAYS[way].attend(WINDOWS[parts], q, k, v, None).float()
    assert (made - expected).norm() / expected.norm() < 1e-2
