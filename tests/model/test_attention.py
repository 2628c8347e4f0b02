import math

import pytest
import torch
from torch import Tensor

from happyhorse.model.attention import attend, attend_crossed, attend_local, frame_windows, softmax_products


def heads(rows: int, keys: int | None = None, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    keys = rows if keys is None else keys
    return torch.randn(batch, rows, 6, 8), torch.randn(batch, keys, 2, 8), torch.randn(batch, keys, 2, 8)


def plain(q: Tensor, k: Tensor, v: Tensor, kind: str, mask: Tensor) -> Tensor:
    """The definition, one query at a time in double precision; ``mask`` [B, N, keys]."""
    out = torch.zeros(q.shape, dtype=torch.float64)
    for b, n, h in torch.cartesian_prod(*(torch.arange(size) for size in q.shape[:3])).tolist():
        seen = mask[b, n].nonzero()[:, 0]
        key, value = k[b, seen, h // 3].double(), v[b, seen, h // 3].double()
        scores = key @ q[b, n, h].double() / math.sqrt(q.shape[-1])
        weights = scores.softmax(0) if kind == "softmax" else 1 / (1 + torch.exp(-scores + math.log(len(seen))))
        out[b, n, h] = weights @ value
    return out


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
class TestBothKinds:
    def test_all_keys(self, kind):
        q, k, v = heads(5, 9)
        assert torch.allclose(attend(q, k, v, kind).double(), plain(q, k, v, kind, torch.ones(2, 5, 9)), atol=1e-5)

    def test_masked_keys(self, kind):
        q, k, v = heads(5, 9)
        mask = torch.arange(9) < torch.tensor([[9], [4]])
        expected = plain(q, k, v, kind, mask[:, None].expand(2, 5, 9))
        assert torch.allclose(attend(q, k, v, kind, mask[:, None, None]).double(), expected, atol=1e-5)

    def test_causal(self, kind):
        q, k, v = heads(6)
        expected = plain(q, k, v, kind, torch.ones(2, 6, 6).tril())
        assert torch.allclose(attend(q, k, v, kind, causal=True).double(), expected, atol=1e-5)

    @pytest.mark.parametrize("radius", [0, 1, 2, 9])
    @pytest.mark.parametrize("padded", [False, True])
    def test_near_frames(self, kind, radius, padded):
        frames, per_frame, others = 5, 2, 4
        rows, video = frames * per_frame + others, frames * per_frame
        q, k, v = heads(rows)
        frame = torch.arange(video) // per_frame
        mask = torch.ones(2, rows, rows, dtype=torch.bool)
        mask[:, :video, :video] = (frame[:, None] - frame).abs() <= radius
        real = torch.ones(2, rows, dtype=torch.bool)
        real[1, -2:] = not padded
        ours = attend_local(q, k, v, kind, frames, video, radius, real[:, None, None] if padded else None)
        assert torch.allclose(ours.double(), plain(q, k, v, kind, mask & real[:, None]), atol=1e-5)

    @pytest.mark.parametrize("padded", [False, True])
    def test_crossed_media(self, kind, padded):
        video, audio, words = 6, 3, 4
        q, k, v = heads(video + audio, video + audio + words)
        own, other = torch.zeros(2, 2, video + audio, video + audio + words, dtype=torch.bool)
        own[..., video + audio :] = True
        own[1, :, -1] = not padded
        for rows, others in (
            (slice(0, video), slice(video, video + audio)),
            (slice(video, video + audio), slice(0, video)),
        ):
            own[:, rows, rows], other[:, rows, others] = True, True
        real = torch.ones(2, video + audio + words, dtype=torch.bool)
        real[1, -1] = not padded
        ours = attend_crossed(q, k, v, kind, video, real[:, None, None] if padded else None)
        expected = plain(q, k, v, kind, own) + plain(q, k, v, kind, other)
        assert torch.allclose(ours.double(), expected, atol=1e-5)


def test_windows_partition_the_frames():
    windows = frame_windows(32, 11)
    assert [start for start, *_ in windows] == [0, *(stop for _, stop, *_ in windows[:-1])]
    assert windows[-1][1] == 32
    assert sum((stop - start) * (high - low) for start, stop, low, high in windows) / 32 == pytest.approx(18.9, abs=0.1)


def test_frames_that_see_everything_cost_one_call():
    assert frame_windows(8, 8) == [(0, 8, 0, 8)]


def test_sigmoid_rows_sum_to_about_one_whatever_the_length():
    for keys in (16, 1024):
        q, k = torch.zeros(1, 1, 2, 8), torch.zeros(1, keys, 2, 8)
        total = attend(q, k, torch.ones(1, keys, 2, 8), "sigmoid")
        assert torch.allclose(total, torch.tensor(keys / (keys + 1)), atol=1e-4)


@pytest.mark.parametrize("masked", ["no", "keys", "causal"])
def test_softmax_as_two_products_equals_the_fused_kernel(masked):
    q, k, v = (x.transpose(1, 2) for x in heads(30, 30))
    keys = torch.ones(2, 1, 1, 30, dtype=torch.bool)
    keys[1, ..., 25:] = False
    causal = torch.ones(30, 30, dtype=torch.bool).tril()[None, None]
    mask = {"no": None, "keys": keys, "causal": causal}[masked]
    repeated = (x.repeat_interleave(3, dim=1) for x in (k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(q, *repeated, attn_mask=mask)
    torch.testing.assert_close(softmax_products(q, k, v, mask), expected)


def test_softmax_as_two_products_stays_finite_where_exp_would_not():
    q = torch.full((1, 1, 2, 4), 100.0)
    made = softmax_products(q, torch.cat([q, -q], dim=2), torch.ones(1, 1, 4, 4), None)
    torch.testing.assert_close(made, torch.ones(1, 1, 2, 4))


def test_a_cpu_training_in_bfloat16_gets_what_inference_gets():
    q, k, v = (x.bfloat16() for x in heads(20, 30))
    with torch.inference_mode():
        expected = attend(q, k, v, "softmax")
    made = attend(q.requires_grad_(), k, v, "softmax")
    assert (made - expected).norm() < 0.01 * expected.norm()
