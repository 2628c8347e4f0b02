"""The whole model, top to bottom: one Transformer over the rows of video, audio and text.

Outer layers hold weights per modality, the middle layers share theirs; all rows attend to each other in every layer.
There is no timestep input: the noise level is read off the latents. With text = "tokens" the text rows see text only,
so they run as a pass of their own whose keys and values serve every denoising step.

Shapes: B batch, N rows, L text rows, Hq query heads, Hkv key and value heads, D channels of a head.
The residual stream, norms, rotary tables, gates, adapters and heads are float32; block matrices are as configured.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from happyhorse.config import MODALITIES, ModelConfig
from happyhorse.errors import ConfigError
from happyhorse.model.attention import attend, attend_crossed, attend_local
from happyhorse.model.positions import frequencies, rotate
from happyhorse.model.sequence import (
    AUDIO,
    VIDEO,
    Layout,
    RowCache,
    Spans,
    by_modality,
    caption_layout,
    joint_layout,
    media_layout,
    over_patches,
    pack_audio,
    pack_video,
    patch_grid,
    text_layout,
    text_mask,
    unpack_audio,
    unpack_video,
)
from happyhorse.types import Latents, Text

EVEN, ODD, ALL = slice(0, None, 2), slice(1, None, 2), slice(None)
TextRows = tuple[Tensor, Tensor]
"""Keys and values of text rows in one layer, each [B, L, Hkv, D]."""


class Transformer(nn.Module):
    """Velocity of video and audio latents given a prompt: ``model(latents, text) -> Latents``."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.adapter = Adapter(config)
        self.block = Block(config)
        self.final_norm_video = Norm(config.hidden)
        self.final_norm_audio = Norm(config.hidden)
        self.final_linear_video = nn.Linear(config.hidden, 4 * config.video_channels, bias=False)
        self.final_linear_audio = nn.Linear(config.hidden, config.audio_patch * config.audio_channels, bias=False)
        if config.noisy_input == "added":
            self.final_scale_video = nn.Linear(config.hidden, 1)
            self.final_scale_audio = nn.Linear(config.hidden, 1)
        if config.language_head:
            self.final_norm_text = Norm(config.hidden)
        initialise(self)

    def forward(
        self,
        latents: Latents,
        text: Text | RowCache,
        layout: Layout | None = None,
        times: Tensor | None = None,
    ) -> Latents:
        """Velocity of ``latents``, float32, of their shape.

        ``text`` is a batch of prompts or the cache made of it by ``encode_text``. ``layout`` (from ``self.layout``)
        saves its computation when sizes repeat. ``times`` [B, 2], the noise levels of video and audio, is read only by
        a model with timestep = "embedded".
        """
        layout = layout or self.layout(latents, text)
        rows = [self.adapter.video_rows(latents.video, times), self.adapter.audio_rows(latents.audio, times)]
        memory: RowCache | None = None
        if self.config.text == "tokens":
            # The layout hides padding already; building its mask again would be a graph break under compilation.
            memory = text if isinstance(text, RowCache) else RowCache(*self._text_pass(text)[1:], mask=None)
        else:
            rows.append(self.adapter.text_rows(_uncached(text).values))
        hidden = self.block(torch.cat(rows, dim=1), layout, memory)
        return self.read_out(hidden, latents)

    def encode_text(self, text: Text) -> RowCache:
        """Keys and values of the text rows in every layer; needs text = "tokens"."""
        return RowCache(*self._text_pass(text)[1:], text_mask(text))

    def language_logits(self, text: Text) -> Tensor:
        """Scores of the next token after every token, [B, L, vocabulary]; needs ``language_head``."""
        return self._next_tokens(self._text_pass(text)[0])

    def encode_media(self, latents: Latents) -> RowCache:
        """Keys and values of a clip's rows in every layer, without a prompt: what its caption is read from."""
        layout = media_layout(self.config, self.adapter.rope.bands, latents, None)
        rows = [self.adapter.video_rows(latents.video, None), self.adapter.audio_rows(latents.audio, None)]
        return RowCache(*self._pass(torch.cat(rows, dim=1), layout)[1:])

    def caption_logits(self, tokens: Tensor, seen: RowCache, start: int = 0) -> tuple[Tensor, RowCache]:
        """Scores of the token after each of ``tokens`` [B, L], the words of a caption from ``start`` on; needs
        ``language_head``. Also returns the keys and values of these words.

        ``seen`` holds the clip's rows and those of the words before.
        """
        layout = caption_layout(self.adapter.rope.bands, tokens.shape[1], start, seen.rows)
        hidden, keys, values = self._pass(self.adapter.text_rows(tokens), layout, seen)
        return self._next_tokens(hidden), RowCache(keys, values)

    def _next_tokens(self, hidden: Tensor) -> Tensor:
        assert self.config.language_head, "this model has no language head"
        return F.linear(self.final_norm_text(hidden), self.adapter.text_embedder.weight) * self.config.hidden**-0.5

    def layout(self, latents: Latents, text: Text | RowCache) -> Layout:
        """Arrangement of the rows for these sizes and text lengths."""
        bands = self.adapter.rope.bands
        if self.config.text == "tokens":
            return media_layout(self.config, bands, latents, text)
        return joint_layout(self.config, bands, latents, _uncached(text))

    def read_out(self, hidden: Tensor, like: Latents) -> Latents:
        """Final rows [B, N, hidden] to the velocity of the latents ``like``.

        With the noisy input added it is ``a x_t + b`` with a and b read from the rows: as v = (x_t - x0) / t, the best
        a is 1 / t, and what is left for b is the clean latent alone.
        """
        grid, patch = patch_grid(like.video), self.config.audio_patch
        n_video, n_audio = math.prod(grid), -(-like.audio.shape[1] // patch)
        video = self.final_norm_video(hidden[:, :n_video])
        audio = self.final_norm_audio(hidden[:, n_video : n_video + n_audio])
        velocity = Latents(
            unpack_video(self.final_linear_video(video), grid),
            unpack_audio(self.final_linear_audio(audio), like.audio.shape[1], patch),
        )
        if self.config.noisy_input == "hidden":
            return velocity
        scales = over_patches(self.final_scale_video(video), self.final_scale_audio(audio), like, patch)
        return velocity.zip(like.zip(scales, torch.mul), torch.add)

    def _text_pass(self, text: Text) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Final text rows [B, L, hidden], and the keys and values of every layer."""
        if self.config.text != "tokens":
            raise ConfigError('only a model with text = "tokens" can read its prompt ahead of the latents')
        layout = text_layout(self.config, self.adapter.rope.bands, text)
        return self._pass(self.adapter.text_rows(text.values), layout)

    def _pass(
        self, hidden: Tensor, layout: Layout, seen: RowCache | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Final rows, and their keys and values in every layer; they also see the cached rows."""
        keys, values = [], []
        for index, layer in enumerate(self.block.layers):
            hidden, (key, value) = layer(hidden, layout, seen and (seen.keys[index], seen.values[index]))
            keys.append(key)
            values.append(value)
        return hidden, tuple(keys), tuple(values)


def _uncached(text: Text | RowCache) -> Text:
    if isinstance(text, RowCache):
        raise ConfigError('text can only be cached by a model with text = "tokens"')
    return text


# ------------------------------------------------------------------------------------------------------ into the rows
class Adapter(nn.Module):
    """Embeds patches, audio latents and text as rows of the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.audio_patch = config.audio_patch
        self.video_embedder = nn.Linear(4 * config.video_channels, config.hidden)
        self.audio_embedder = nn.Linear(config.audio_patch * config.audio_channels, config.hidden)
        if config.text == "tokens":
            self.text_embedder = nn.Embedding(config.text_vocab, config.hidden)
        else:
            self.text_embedder = nn.Linear(config.text_channels, config.hidden)
        self.time_embedder = TimeEmbedder(config.hidden) if config.timestep == "embedded" else None
        self.rope = Rope(frequencies(config.bands, top=config.rotary_top, base=config.rotary_base))

    def video_rows(self, video: Tensor, times: Tensor | None) -> Tensor:
        return self.video_embedder(pack_video(video.float())) + self._time(times, VIDEO)

    def audio_rows(self, audio: Tensor, times: Tensor | None) -> Tensor:
        return self.audio_embedder(pack_audio(audio.float(), self.audio_patch)) + self._time(times, AUDIO)

    def text_rows(self, values: Tensor) -> Tensor:
        return self.text_embedder(values.float() if values.is_floating_point() else values)

    def _time(self, times: Tensor | None, modality: int) -> Tensor | float:
        if self.time_embedder is None:
            return 0.0
        assert times is not None, 'a model with timestep = "embedded" must be given the noise levels'
        return self.time_embedder(times[:, modality])[:, None]


class Rope(nn.Module):
    """Holds the band frequencies, float32, as the published checkpoints do."""

    bands: Tensor

    def __init__(self, bands: Tensor) -> None:
        super().__init__()
        self.register_buffer("bands", bands)


class TimeEmbedder(nn.Module):
    """Noise level [B] to a vector [B, hidden]: sines and cosines of 1000 t, then a small MLP. For comparison only."""

    def __init__(self, hidden: int, features: int = 128) -> None:
        super().__init__()
        self.features = features
        self.inner = nn.Linear(features, hidden)
        self.outer = nn.Linear(hidden, hidden)

    def forward(self, time: Tensor) -> Tensor:
        angle = 1000 * time.float()[:, None] * frequencies(self.features // 2, time.device)
        return self.outer(F.silu(self.inner(torch.cat([angle.cos(), angle.sin()], dim=-1))))


# ----------------------------------------------------------------------------------------------------------- the stack
class Block(nn.Module):
    """All layers, one after the other."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config, index) for index in range(config.layers))

    def forward(self, hidden: Tensor, layout: Layout, memory: RowCache | None = None) -> Tensor:
        for index, layer in enumerate(self.layers):
            text = None if memory is None else (memory.keys[index], memory.values[index])
            hidden, _ = layer(hidden, layout, text)
        return hidden


class Layer(nn.Module):
    """Attention, then MLP, each on the normed residual stream and added to it."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.attention = Attention(config, index)
        self.mlp = MLP(config, index)

    def forward(self, hidden: Tensor, layout: Layout, text: TextRows | None = None) -> tuple[Tensor, TextRows]:
        mixed, rows = self.attention(hidden, layout, text)
        hidden = hidden + mixed
        return hidden + self.mlp(hidden, layout.spans), rows


class Attention(nn.Module):
    """Grouped-query attention with normed queries and keys and an input-dependent sigmoid gate per head."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.kind, self.head_dim, self.crossed = config.attention, config.head_dim, config.streams == "crossed"
        self.radius = config.receptive_field if index in config.local_layers else None
        gates = config.query_heads if config.gate == "per-head" else 0
        query, key = config.query_heads * config.head_dim, config.kv_heads * config.head_dim
        self.widths = [query, key, key, gates]
        copies = _copies(config, index)
        self.pre_norm = Norm(config.hidden, copies)
        self.linear_qkv = BlockLinear(config, config.hidden, sum(self.widths), copies)
        self.q_norm = Norm(config.head_dim, copies)
        self.k_norm = Norm(config.head_dim, copies)
        self.linear_proj = BlockLinear(config, query, config.hidden, copies)

    def forward(self, hidden: Tensor, layout: Layout, text: TextRows | None = None) -> tuple[Tensor, TextRows]:
        """The branch's output [B, N, hidden], and this pass's own keys and values."""
        q, k, v, gate = self.project(hidden, layout.spans, layout.cos, layout.sin)
        mixed = self.mix(q, *_joined((k, v), text), layout)
        return self.finish(mixed, gate, layout.spans), (k, v)

    def project(self, hidden: Tensor, spans: Spans, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Rotated queries [B, N, Hq, D] and keys, values [B, N, Hkv, D], and what the gates are made of [B, N, Hq]."""
        projected = self.linear_qkv(self.pre_norm(hidden, spans), spans)
        q, k, v, gate = projected.split(self.widths, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in (q, k, v))
        return rotate(self.q_norm(q, spans), cos, sin), rotate(self.k_norm(k, spans), cos, sin), v, gate

    def finish(self, mixed: Tensor, gate: Tensor, spans: Spans) -> Tensor:
        """Mixed values [B, N, Hq, D], gated, as the branch's output."""
        mixed = mixed.float() * torch.sigmoid(gate)[..., None] if self.widths[3] else mixed.float()
        return self.linear_proj(mixed.flatten(2), spans)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> Tensor:
        q, k, v = (x.to(self.linear_qkv.dtype) for x in (q, k, v))
        if self.crossed and layout.frames:
            return attend_crossed(q, k, v, self.kind, layout.video_rows, layout.key_mask)
        if self.radius is None or layout.frames == 0:
            return attend(q, k, v, self.kind, layout.key_mask, layout.causal)
        return attend_local(q, k, v, self.kind, layout.frames, layout.video_rows, self.radius, layout.key_mask)


def _joined(own: TextRows, text: TextRows | None) -> TextRows:
    """A pass's own keys and values followed by those of the text, if they are not among its own."""
    if text is None:
        return own
    return torch.cat([own[0], text[0]], dim=1), torch.cat([own[1], text[1]], dim=1)


class MLP(nn.Module):
    """GELU7 or SwiGLU7 (even rows of its weight gate the odd ones), both bounded at 7."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        self.gated = index not in config.gelu7_layers
        width = config.swiglu7_width if self.gated else config.gelu7_width
        copies = _copies(config, index)
        self.pre_norm = Norm(config.hidden, copies)
        self.up_gate_proj = BlockLinear(config, config.hidden, 2 * width if self.gated else width, copies)
        self.down_proj = BlockLinear(config, width, config.hidden, copies)

    def forward(self, hidden: Tensor, spans: Spans) -> Tensor:
        normed, up = self.pre_norm(hidden, spans), self.up_gate_proj
        # Reading every second row of the weight gives each half in one piece; taking the product's columns apart
        # afterwards cannot be vectorised and took four times as long.
        inner = swiglu7(up(normed, spans, EVEN), up(normed, spans, ODD)) if self.gated else gelu7(up(normed, spans))
        return self.down_proj(inner, spans)


def gelu7(x: Tensor) -> Tensor:
    """``x sigmoid(1.702 x)`` with x capped at 7."""
    x = x.clamp(max=7)
    return x * torch.sigmoid(1.702 * x)


def swiglu7(gate: Tensor, linear: Tensor) -> Tensor:
    """``gelu7(gate) * (clamp(linear, -7, 7) + 1)``."""
    return gelu7(gate) * (linear.clamp(-7, 7) + 1)


# ---------------------------------------------------------------------------- weights, one copy or one per modality
def _copies(config: ModelConfig, index: int) -> int:
    return len(MODALITIES) if config.is_specific(index) else 1


class Norm(nn.Module):
    """RMS norm over the last axis; the weight is stored minus one. Copies for modalities are stacked."""

    def __init__(self, width: int, copies: int = 1) -> None:
        super().__init__()
        self.width, self.copies = width, copies
        self.weight = nn.Parameter(torch.zeros(copies * width))

    def forward(self, x: Tensor, spans: Spans = ()) -> Tensor:
        x = F.rms_norm(x.float(), (self.width,), eps=1e-6)
        if self.copies == 1:
            return x * (self.weight + 1)
        scales = self.weight.view(self.copies, self.width) + 1
        return by_modality(x, spans, lambda rows, modality: rows * scales[modality])


class BlockLinear(nn.Module):
    """Matrix product without bias in the configured dtype, float32 out. Copies for modalities are stacked on axis 0."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, copies: int) -> None:
        super().__init__()
        self.inputs, self.outputs, self.copies = inputs, outputs, copies
        self.dtype: torch.dtype = getattr(torch, config.matmul_dtype)
        self.weight = nn.Parameter(torch.empty(copies * outputs, inputs, dtype=getattr(torch, config.weight_dtype)))

    def forward(self, x: Tensor, spans: Spans, outputs: slice = ALL) -> Tensor:
        """The products with all rows of the weight, or with those of ``outputs``."""
        weights = self.weight.view(self.copies, self.outputs, self.inputs)[:, outputs].to(self.dtype)
        x = x.to(self.dtype)
        if self.copies == 1:
            return F.linear(x, weights[0]).float()
        return by_modality(x, spans, lambda rows, modality: F.linear(rows, weights[modality])).float()


# -------------------------------------------------------------------------------------------------- starting weights
@torch.no_grad()
def initialise(model: Transformer) -> None:
    """Starting weights for training from nothing.

    Rows start at unit variance; products keep it (variance 1 / inputs), and the two that end a branch are smaller by
    sqrt(2 * layers) so that the residual stream does not grow with depth. Gates start at one half and heads near zero;
    a noisy input that is added starts with the factor 1, which is right for pure noise.
    """
    for module in (model.adapter.video_embedder, model.adapter.audio_embedder, model.adapter.text_embedder):
        if isinstance(module, nn.Linear):
            _normal(module.weight, module.in_features**-0.5)
            nn.init.zeros_(module.bias)
        else:
            # Far below 1, steps of the optimiser's usual size still move an embedding; far above 0.1, layers see it.
            _normal(module.weight, 0.3)
    for layer in model.block.layers:
        assert isinstance(layer, Layer)
        _initialise_layer(layer, 1 / math.sqrt(2 * model.config.layers))
    for head in (model.final_linear_video, model.final_linear_audio):
        _normal(head.weight, 0.1 * head.in_features**-0.5)
    if model.config.noisy_input == "added":
        for scale in (model.final_scale_video, model.final_scale_audio):
            nn.init.zeros_(scale.weight)
            nn.init.ones_(scale.bias)


def _initialise_layer(layer: Layer, branch_scale: float) -> None:
    attention, mlp = layer.attention, layer.mlp
    for linear, scale in (
        (attention.linear_qkv, 1.0),
        (mlp.up_gate_proj, 1.0),
        (attention.linear_proj, branch_scale),
        (mlp.down_proj, branch_scale),
    ):
        _normal(linear.weight, scale * linear.inputs**-0.5)
    if gates := attention.widths[3]:
        qkv = attention.linear_qkv
        qkv.weight.view(qkv.copies, qkv.outputs, qkv.inputs)[:, -gates:].mul_(0.1)


def _normal(weight: Tensor, std: float) -> None:
    nn.init.normal_(weight, std=std)


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
