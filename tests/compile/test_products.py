import pytest
import torch
import torch.nn.functional as F

from happyhorse.compile import products
from happyhorse.compile.products import attend_products, serves, times


def heads(rows=37, keys=50, batch=2, groups=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, 2 * groups), (keys, 2), (keys, 2))
    return tuple(torch.randn(batch, *shape, 8, generator=generator).to(dtype) for shape in shapes)


def softmax(q, k, v, mask=None):
    q, k, v = (x.transpose(1, 2).double() for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def error(made, expected) -> float:
    return float((made.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("block", [(512, 1024), (16, 32), (7, 11)])
def test_equals_softmax_whatever_the_block(block, dtype, limit, masked, groups, monkeypatch):
    monkeypatch.setattr(products, "QUERIES", block[0])
    monkeypatch.setattr(products, "KEYS", block[1])
    q, k, v = heads(groups=groups, dtype=dtype)
    mask = (torch.arange(50) < torch.tensor([[50], [31]]))[:, None, None] if masked else None
    made = attend_products(q, k, v, mask)
    assert made.dtype == dtype and made.is_contiguous()
    assert error(made, softmax(q, k, v, mask)) < limit


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("keys", [31, 32, 64])
def test_no_product_is_given_what_is_strided(keys, batch, monkeypatch):
    """oneDNN multiplies strided matrices a thousand times slower."""
    seen = []

    def watched(a, b, cut=None):
        seen.append(a.is_contiguous() and b.is_contiguous())
        product = a @ b.t()
        return product if cut is None else product.clamp(-cut, cut)

    monkeypatch.setattr(products, "times", watched)
    q, k, v = heads(keys=keys, batch=batch)
    assert error(attend_products(q, k, v), softmax(q, k, v)) < 2e-6
    assert seen and all(seen)


def test_a_masked_key_is_as_good_as_none():
    q, k, v = heads(batch=1)
    loud = v.clone()
    loud[:, 40:] = 1e30
    mask = (torch.arange(50) < 40)[None, None, None]
    made = attend_products(q, k, loud, mask)
    torch.testing.assert_close(made, attend_products(q, k[:, :40], v[:, :40]))


def test_scores_that_no_norm_bounds_stay_finite():
    q = torch.full((1, 2, 1, 4), 100.0)
    k = torch.cat([q, -q], dim=1)
    v = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 1, 4)
    torch.testing.assert_close(attend_products(q, k, v), torch.full((1, 2, 1, 4), 0.5))


@pytest.mark.parametrize("library", [True, False])
def test_products_are_limited(library, monkeypatch):
    if library and not serves(torch.float32):
        pytest.skip("this torch has no oneDNN")
    monkeypatch.setattr(products, "serves", lambda _: library)
    a, b = (x.flatten(0, 2) for x in heads()[:2])
    exact = a.double() @ b.double().t()
    torch.testing.assert_close(times(a, b).double(), exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(times(a, b, cut=2.0).double(), exact.clamp(-2, 2), atol=1e-5, rtol=1e-5)


def test_is_one_operator_to_a_compiler():
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(attend_products, backend=keep, fullgraph=True, dynamic=True)
    for given in (heads(), heads(rows=9, keys=20)):
        torch.testing.assert_close(compiled(*given), attend_products(*given))
    called = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert len(graphs) == 1 and called == ["happyhorse.attend_products.default"]


def test_says_the_shape_of_what_it_makes():
    torch.library.opcheck(torch.ops.happyhorse.attend_products.default, (*heads(), None), test_utils="test_faketensor")
