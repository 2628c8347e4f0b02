"""A denoising step, or one layer of it, as a function of tensors alone: what compilers can take as one graph.

A Layout holds numbers of rows as Python integers, and a graph traced with them is good for these numbers only. Here all
sizes are read off the shapes of tensors, so that they stay symbols: one graph serves every duration and picture size.
The model's own code runs inside; nothing of it is written a second time.

What a graph cannot leave open is its ``Form``. Symbols stand for sizes of at least two (a size of one broadcasts), so
passes with a group of one row are not for graphs: ``size_of_one`` finds them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from happyhorse.config import ModelConfig
from happyhorse.model.sequence import AUDIO, TEXT, VIDEO, Layout, RowCache, Spans, patch_grid
from happyhorse.model.transformer import Layer, Transformer
from happyhorse.types import Latents, Text

Free = tuple[tuple[int, ...], ...]
"""For every tensor, the dimensions whose size is left open."""


@dataclasses.dataclass(frozen=True)
class Form:
    """Of a pass, all that its graph is made for and no other."""

    batch: int
    """Clips, or a clip with and without its prompt."""
    masked: bool
    """Whether some text rows are padding."""
    frames: int = 0
    """Latent frames, if the model has local layers: they cut the rows by frames; 0 if any number will do."""
    size: tuple[int, ...] = ()
    """(T, H, W, Na, L) if the graph is for one size only."""

    @classmethod
    def of(cls, config: ModelConfig, latents: Latents, layout: Layout, text_rows: int, dynamic: bool) -> Form:
        """The form of a pass. Frames and sizes are parts of it only where they must be."""
        sizes = (*latents.video.shape[2:], latents.audio.shape[1], text_rows)
        frames = latents.video.shape[2] if config.local_layers else 0
        return cls(latents.video.shape[0], layout.key_mask is not None, frames, () if dynamic else sizes)


# ------------------------------------------------------------------------------------------------------ a whole step
class Step(nn.Module):
    """``step([video, audio, cos, sin, (mask), (times), text...])`` is the velocity as (video, audio).

    ``text`` is the keys of all layers and then their values, or the features.
    """

    def __init__(self, model: Transformer, form: Form) -> None:
        super().__init__()
        self.model, self.form = model, form

    def extra_repr(self) -> str:
        return str(self.form)

    def forward(self, tensors: list[Tensor]) -> tuple[Tensor, Tensor]:
        config, rest = self.model.config, iter(tensors)
        video, audio, cos, sin = itertools.islice(rest, 4)
        mask = next(rest) if self.form.masked else None
        times = next(rest) if config.timestep == "embedded" else None
        text, rows = _as_text(config, list(rest))
        frames, height, width = patch_grid(video)
        spans = ((VIDEO, frames * height * width), (AUDIO, -(-audio.shape[1] // config.audio_patch)), *rows)
        layout = Layout(spans, cos, sin, mask, frames=frames)
        velocity = self.model(Latents(video, audio), text, layout, times)
        return velocity.video, velocity.audio


def _as_text(config: ModelConfig, tensors: list[Tensor]) -> tuple[RowCache | Text, Spans]:
    """The text as the model takes it, and the span of those of its rows that take part."""
    if config.text == "tokens":
        return RowCache(tuple(tensors[: config.layers]), tuple(tensors[config.layers :])), ()
    (values,) = tensors
    # Lengths are in the layout's mask already, and nothing else reads them.
    return Text(values, values.new_empty(0)), ((TEXT, values.shape[1]),)


def step_inputs(latents: Latents, text: RowCache | Text, layout: Layout, times: Tensor | None) -> list[Tensor]:
    """What a Step is called with. All contiguous: compiled code relies on strides that it has seen."""
    values = [*text.keys, *text.values] if isinstance(text, RowCache) else [text.values]
    optional = [tensor for tensor in (layout.key_mask, times) if tensor is not None]
    tensors = [latents.video, latents.audio, layout.cos, layout.sin, *optional, *values]
    return [tensor.contiguous() for tensor in tensors]


def step_example(config: ModelConfig, form: Form, device: torch.device) -> tuple[list[Tensor], Free]:
    """Inputs of a Step, small and meaningless, and which of their sizes are open."""
    frames, height, width, sounds, words = form.size or (form.frames or 3, 4, 6, 9, 5)
    media = frames * height * width // 4 + -(-sounds // config.audio_patch)
    cached, batch = config.text == "tokens", form.batch
    rows = media if cached else media + words
    open_frames = () if form.frames else (2,)
    # Positions of text rows differ from prompt to prompt; those of the media do not.
    tables = (1 if cached else batch, rows, 1, 3 * config.bands)
    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((batch, config.video_channels, frames, height, width), (*open_frames, 3, 4)),
        ((batch, sounds, config.audio_channels), (1,)),
        (tables, (1,)),
        (tables, (1,)),
    ]
    if form.masked:
        shapes.append(((batch, 1, 1, media + words), (3,)))
    if config.timestep == "embedded":
        shapes.append(((batch, 2), ()))
    if cached:
        shapes += [((batch, words, config.kv_heads, config.head_dim), (1,))] * (2 * config.layers)
    else:
        shapes.append(((batch, words, config.text_channels), (1,)))
    tensors = [torch.zeros(shape, device=device) for shape, _ in shapes]
    if form.masked:
        tensors[4] = tensors[4] == 0
    return tensors, tuple(() if form.size else free for _, free in shapes)


# --------------------------------------------------------------------------------------------------------- one layer
class LayerStep(nn.Module):
    """``step([hidden, cos, sin, rows, rows, (rows), (mask), (key, value)])`` is the rows after one layer.

    ``rows`` are empty tensors [number of rows, 0], one for each modality: their shapes say where it ends.
    """

    def __init__(self, layer: nn.Module, config: ModelConfig, form: Form) -> None:
        super().__init__()
        self.layer, self.form = layer, form
        self.cached = config.text == "tokens"

    def extra_repr(self) -> str:
        """What the layer's weights do not tell of it."""
        layer = cast(Layer, self.layer)
        return f"{self.form}, radius {layer.attention.radius}, gated {layer.mlp.gated}"

    def forward(self, tensors: list[Tensor]) -> Tensor:
        rest = iter(tensors)
        hidden, cos, sin = itertools.islice(rest, 3)
        modalities = (VIDEO, AUDIO) if self.cached else (VIDEO, AUDIO, TEXT)
        spans = tuple((modality, next(rest).shape[0]) for modality in modalities)
        mask = next(rest) if self.form.masked else None
        text = (next(rest), next(rest)) if self.cached else None
        # Without local layers, a number of frames says no more than that there are some.
        layout = Layout(spans, cos, sin, mask, frames=self.form.frames or 1)
        return cast(Layer, self.layer)(hidden, layout, text)[0]


def layer_inputs(hidden: Tensor, text: tuple[Tensor, Tensor] | None, layout: Layout) -> list[Tensor]:
    """What a LayerStep is called with, from the rows [B, N, hidden] before the layer."""
    rows = [hidden.new_empty(count, 0) for _, count in layout.spans]
    mask = [] if layout.key_mask is None else [layout.key_mask.contiguous()]
    return [hidden, layout.cos, layout.sin, *rows, *mask, *(part.contiguous() for part in text or ())]


def layer_example(config: ModelConfig, form: Form, device: torch.device) -> tuple[list[Tensor], Free]:
    """Inputs of a LayerStep, small and meaningless, and which of their sizes are open."""
    step, _ = step_example(config, form, device)
    video, audio, cos, sin = step[:4]
    patches = video[0, 0].numel() // 4
    cached = config.text == "tokens"
    counts = [patches, -(-audio.shape[1] // config.audio_patch)] + ([] if cached else [step[-1].shape[1]])
    rows = cos.shape[1]
    tensors = [torch.zeros(form.batch, rows, config.hidden, device=device), cos, sin]
    tensors += [cos.new_empty(count, 0) for count in counts]
    free: list[tuple[int, ...]] = [(1,), (1,), (1,), *[(0,)] * len(counts)]
    if form.masked:
        tensors.append(step[4])
        free.append((3,))
    if cached:
        tensors += step[-2:]
        free += [(1,), (1,)]
    return tensors, tuple(() if form.size else dims for dims in free)


# --------------------------------------------------------------------------------------------------------- both of them
def signature(tensors: Sequence[Tensor], free: Free) -> list[str]:
    """The inputs as words: "float32[1, 48, *, *, *]"; a graph serves all inputs with the same words."""
    return [_words(tensor, dims) for tensor, dims in zip(tensors, free, strict=True)]


def _words(tensor: Tensor, free: tuple[int, ...]) -> str:
    sizes = ["*" if dim in free else str(size) for dim, size in enumerate(tensor.shape)]
    return f"{str(tensor.dtype).removeprefix('torch.')}[{', '.join(sizes)}]"


def serves(tensors: Sequence[Tensor], made_for: Sequence[Tensor], free: Free) -> bool:
    """Whether a graph made for some tensors serves these: dtypes, devices and fixed sizes equal, open ones above 1."""
    return len(tensors) == len(made_for) and all(map(_fits, tensors, made_for, free))


def _fits(tensor: Tensor, made_for: Tensor, free: tuple[int, ...]) -> bool:
    if tensor.dtype != made_for.dtype or tensor.device != made_for.device or tensor.ndim != made_for.ndim:
        return False
    pairs = enumerate(zip(tensor.shape, made_for.shape, strict=True))
    return all(size > 1 if dim in free else size == wanted for dim, (size, wanted) in pairs)


def size_of_one(layout: Layout, latents: Latents, text_rows: int) -> str:
    """What there is only one of in a pass, in words; empty if nothing is."""
    counts = {"row of video": layout.video_rows, "row of sound": layout.spans[1][1], "word": text_rows}
    counts |= dict(zip(("latent frame", "row of patches", "column of patches"), patch_grid(latents.video), strict=True))
    return next((what for what, count in counts.items() if count < 2), "")
