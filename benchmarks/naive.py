"""The Transformer's maths once more, eager and without thought for speed: what benchmarks/compile.py measures us by.

Written for comparison, in the style of public code for this design: one sequence of rows of mixed modality, routed by
boolean masks and index permutations, a loop over the modalities in every layer, keys and values repeated for every
query head, rotary tables made again in every pass and as wide as the heads, a dense mask where attention is local, and
a prompt that is read again in every step. It shares the weights of the plain model and equals it up to rounding.

Shapes: N rows, D channels of a head; the batch is one clip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from happyhorse.model import positions
from happyhorse.model.sequence import (
    AUDIO,
    TEXT,
    VIDEO,
    over_patches,
    pack_audio,
    pack_video,
    patch_grid,
    unpack_audio,
    unpack_video,
)
from happyhorse.model.transformer import MLP, Attention, BlockLinear, Layer, Norm, Transformer
from happyhorse.types import Latents, Text

MODALITIES = (VIDEO, AUDIO, TEXT)


class Routing:
    """Which modality every row has, and the permutation that puts the rows of each together."""

    def __init__(self, modality: Tensor) -> None:
        self.masks = {kind: modality == kind for kind in MODALITIES}
        self.order = torch.argsort(modality, stable=True)
        self.back = torch.argsort(self.order)
        self.sizes = [int(self.masks[kind].sum()) for kind in MODALITIES]

    def split(self, rows: Tensor) -> list[Tensor]:
        """Ordered rows [N, ...] of each modality."""
        return list(rows.split(self.sizes))


class Naive:
    """``Naive(model)(latents, text)`` is ``model(latents, text)`` for one clip and a prompt without padding."""

    def __init__(self, plain: Transformer) -> None:
        config = plain.config
        assert config.attention == "softmax" and config.streams == "one" and config.timestep == "none", "not written"
        self.plain, self.config = plain, config

    def __call__(self, latents: Latents, text: Text) -> Latents:
        assert len(latents.video) == 1 and int(text.lengths[0]) == text.values.shape[1], "one clip, nothing padded"
        inputs = [pack_video(latents.video.float())[0], pack_audio(latents.audio.float(), self.config.audio_patch)[0]]
        words = text.values[0]
        counts = [len(inputs[0]), len(inputs[1]), len(words)]
        modality = torch.cat([torch.full((n,), kind) for kind, n in zip(MODALITIES, counts, strict=True)])
        routing = Routing(modality.to(latents.video.device))
        hidden = self.embed([*inputs, words], routing)
        cos, sin = self.tables(latents, text)
        near = self.near(patch_grid(latents.video), counts).to(hidden.device) if self.config.local_layers else None
        hidden = hidden[routing.order]
        for layer in self.plain.block.layers:
            assert isinstance(layer, Layer)
            hidden = hidden + self.attention(layer.attention, hidden, routing, cos, sin, near)
            hidden = hidden + mlp(layer.mlp, hidden, routing)
        return self.read_out(hidden[routing.back], routing, latents)

    def embed(self, inputs: list[Tensor], routing: Routing) -> Tensor:
        """Rows [N, hidden] of all modalities, each put where its mask is."""
        adapter = self.plain.adapter
        embedders = (adapter.video_embedder, adapter.audio_embedder, adapter.text_embedder)
        hidden = torch.zeros(len(routing.order), self.config.hidden, device=inputs[0].device)
        for kind, embed, values in zip(MODALITIES, embedders, inputs, strict=True):
            hidden[routing.masks[kind]] = embed(values.float() if values.is_floating_point() else values)
        return hidden

    def tables(self, latents: Latents, text: Text) -> tuple[Tensor, Tensor]:
        """Cosines and sines [N, 1, 2 R] of all rows."""
        config, grid, device = self.config, patch_grid(latents.video), latents.video.device
        sound = (config.coordinates, latents.audio.shape[1], config.audio_patch, grid[0], device)
        coordinates = torch.cat(
            [
                positions.video_coordinates(grid, device),
                positions.audio_coordinates(*sound),
                positions.text_coordinates(config.coordinates, text.lengths, text.values.shape[1])[0],
            ]
        )
        angle = positions.angles(coordinates, self.plain.adapter.rope.bands)[:, None]
        wide = torch.cat([angle, angle], dim=-1)
        return wide.cos(), wide.sin()

    def near(self, grid: tuple[int, int, int], counts: list[int]) -> Tensor:
        """[N, N] bool: whether a row of a local layer sees a key. Rows of far latent frames do not see each other."""
        frame = torch.arange(grid[0]).repeat_interleave(grid[1] * grid[2])
        seen = torch.ones(sum(counts), sum(counts), dtype=torch.bool)
        seen[: counts[0], : counts[0]] = (frame[:, None] - frame).abs() <= self.config.receptive_field
        return seen

    def attention(
        self, attention: Attention, hidden: Tensor, routing: Routing, cos: Tensor, sin: Tensor, near: Tensor | None
    ) -> Tensor:
        normed = norm(attention.pre_norm, hidden, routing)
        q, k, v, gate = linear(attention.linear_qkv, normed, routing).split(attention.widths, dim=-1)
        q, k, v = (x.reshape(len(x), -1, attention.head_dim) for x in (q, k, v))
        q, k = norm(attention.q_norm, q, routing), norm(attention.k_norm, k, routing)
        q, k, v = q[routing.back], k[routing.back], v[routing.back]
        q, k = rotate_half(q, cos, sin), rotate_half(k, cos, sin)
        dtype, groups = attention.linear_qkv.dtype, q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        local = near if attention.radius is not None else None
        mixed = self.attend(q.to(dtype), k.to(dtype), v.to(dtype), routing, local).float()[routing.order]
        if attention.widths[3]:
            mixed = mixed * torch.sigmoid(gate)[..., None]
        return linear(attention.linear_proj, mixed.flatten(1), routing)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, routing: Routing, near: Tensor | None) -> Tensor:
        """[N, heads, D]; where a prompt is "tokens", its rows see the words before them only."""
        if self.config.text == "features":
            return sdpa(q, k, v, mask=near)
        media, words = ~routing.masks[TEXT], routing.masks[TEXT]
        mixed = torch.empty_like(q)
        mixed[media] = sdpa(q[media], k, v, mask=None if near is None else near[media])
        mixed[words] = sdpa(q[words], k[words], v[words], causal=True)
        return mixed

    def read_out(self, hidden: Tensor, routing: Routing, like: Latents) -> Latents:
        """Rows [N, hidden] to velocities, as Transformer.read_out."""
        plain, patch, grid = self.plain, self.config.audio_patch, patch_grid(like.video)
        video = plain.final_norm_video(hidden[routing.masks[VIDEO]])
        audio = plain.final_norm_audio(hidden[routing.masks[AUDIO]])
        velocity = Latents(
            unpack_video(plain.final_linear_video(video)[None], grid),
            unpack_audio(plain.final_linear_audio(audio)[None], like.audio.shape[1], patch),
        )
        if self.config.noisy_input == "hidden":
            return velocity
        scales = over_patches(plain.final_scale_video(video)[None], plain.final_scale_audio(audio)[None], like, patch)
        return velocity.zip(like.zip(scales, torch.mul), torch.add)


def norm(module: Norm, x: Tensor, routing: Routing) -> Tensor:
    """RMS norm of ordered rows in full precision, a loop over the modalities where each has its weights."""
    x = x.float()
    x = x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6)
    if module.copies == 1:
        return x * (module.weight + 1)
    scales = module.weight.chunk(module.copies)
    return torch.cat([rows * (scale + 1) for rows, scale in zip(routing.split(x), scales, strict=True)])


def linear(module: BlockLinear, x: Tensor, routing: Routing) -> Tensor:
    """A product of ordered rows, a loop over the modalities where each has its weights; float32 out."""
    if module.copies == 1:
        return F.linear(x.to(module.dtype), module.weight.to(module.dtype)).float()
    weights = module.weight.chunk(module.copies)
    parts = [
        F.linear(rows.to(module.dtype), weight.to(module.dtype)).float()
        for rows, weight in zip(routing.split(x), weights, strict=True)
    ]
    return torch.cat(parts)


def mlp(module: MLP, hidden: Tensor, routing: Routing) -> Tensor:
    inner = linear(module.up_gate_proj, norm(module.pre_norm, hidden, routing), routing)
    if not module.gated:
        inner = inner.clamp(max=7)
        return linear(module.down_proj, inner * torch.sigmoid(1.702 * inner), routing)
    gate, up = inner[..., ::2].clamp(max=7), inner[..., 1::2].clamp(min=-7, max=7)
    return linear(module.down_proj, gate * torch.sigmoid(1.702 * gate) * (up + 1), routing)


def rotate_half(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [N, heads, D] turned in its first 2 R channels by tables [N, 1, 2 R]."""
    turned, rest = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    return torch.cat([turned * cos + torch.cat([-second, first], dim=-1) * sin, rest], dim=-1)


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
    """Attention over [rows, heads, D]."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)[0].transpose(0, 1)
