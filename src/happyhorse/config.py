"""Frozen configurations: plain dataclasses that are read strictly. An unknown key is an error, never ignored."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

from happyhorse.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of all configurations: ``from_dict`` refuses unknown and missing keys, ``to_dict`` is its inverse."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise ConfigError(f"{cls.__name__} has no field {', '.join(unknown)}; its fields are {', '.join(fields)}")
        missing = [name for name, field in fields.items() if name not in values and _required(field)]
        if missing:
            raise ConfigError(f"{cls.__name__} needs {', '.join(missing)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def to_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def replace(self, **changes: Any) -> Self:
        return type(self).from_dict({**self.to_dict(), **changes})


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


MODALITIES = ("video", "audio", "text")
"""Order of the modalities in a sequence and of their stacked weights."""


@dataclasses.dataclass(frozen=True)
class ModelConfig(Config):
    """The Transformer: one design for both sizes; ``foal`` and ``magihuman_15b`` are its presets."""

    hidden: int = 192
    """Width of the residual stream."""
    head_dim: int = 32
    """Channels of an attention head; a multiple of 8, three quarters of them are rotated by position."""
    query_heads: int = 6
    """Query heads of every layer."""
    kv_heads: int = 2
    """Key and value heads; each serves ``query_heads / kv_heads`` neighbouring query heads."""
    specific_first: int = 1
    """First layers in which video, audio and text rows have weights of their own."""
    shared: int = 8
    """Middle layers whose weights serve all rows."""
    specific_last: int = 1
    """Last layers in which every modality has weights of its own."""
    gelu7_layers: tuple[int, ...] = (0,)
    """Layers whose MLP is a plain GELU7; all others are SwiGLU7."""
    video_channels: int = 48
    """Channels of a video latent; a token is a 1 x 2 x 2 patch of them."""
    audio_channels: int = 64
    """Channels of an audio latent."""
    audio_patch: int = 1
    """Audio latents per audio token; the first token is the one that is filled up with zeros."""
    text: str = "tokens"
    """"tokens": ids embedded here, rows attend causally to text only and are cached; "features": rows of a frozen
    encoder that take part like all others."""
    text_vocab: int = 2048
    """Vocabulary size when ``text`` is "tokens"."""
    text_channels: int = 3584
    """Width of the encoder's features when ``text`` is "features"."""
    language_head: bool = False
    """Whether text rows predict the next token, with the embedding's own weights (only with text = "tokens")."""
    gate: str = "per-head"
    """"per-head": a sigmoid of the layer's input scales each head of each row; "none": plain attention."""
    attention: str = "softmax"
    """"softmax", or "sigmoid": every key is scored on its own, with bias -ln(number of keys) and no normalisation."""
    streams: str = "one"
    """"one": all rows are keys of one attention; "crossed": the rows of each medium attend to their own and the text's,
    and in a second attention, which is added, to those of the other medium. For comparison only."""
    timestep: str = "none"
    """"none": the noise level is read off the latents; "embedded": it is given and added to the media rows."""
    coordinates: str = "foal"
    """Positions: "foal" (exact audio time, ordered text), or the published "v2" (base, distilled) and "v1" (both
    super-resolution models)."""
    rotary_top: float = 1.0
    """Highest rotary frequency, in radians per latent frame or patch."""
    rotary_base: float = 10_000.0
    """Ratio that the rotary frequencies span: band b of n turns ``rotary_top * rotary_base^(-b / n)`` per step."""
    noisy_input: str = "hidden"
    """"hidden": the velocity is read from the last rows alone, which must carry the noise to the end; "added": the
    noisy latent itself, scaled by a number that each row gives, is added to it, so that rows carry the picture only."""
    local_layers: tuple[int, ...] = ()
    """Layers in which a video row sees only video rows of near latent frames (and all audio and text)."""
    receptive_field: int = 11
    """Latent frames to each side that a local layer sees."""
    matmul_dtype: str = "float32"
    """Dtype of the matrix products and the attention inside the blocks; everything else is float32."""
    weight_dtype: str = "float32"
    """Dtype in which the block matrices are kept; keep float32 for training."""

    def __post_init__(self) -> None:
        self._check("text", "tokens", "features")
        self._check("gate", "per-head", "none")
        self._check("attention", "softmax", "sigmoid")
        self._check("streams", "one", "crossed")
        self._check("timestep", "none", "embedded")
        self._check("coordinates", "foal", "v2", "v1")
        self._check("noisy_input", "hidden", "added")
        self._check("matmul_dtype", "float32", "bfloat16")
        self._check("weight_dtype", "float32", "bfloat16")
        if self.head_dim % 8:
            raise ConfigError(f"head_dim is {self.head_dim}; it must be a multiple of 8")
        if self.rotary_top <= 0 or self.rotary_base < 1:
            raise ConfigError("rotary_top must be more than 0 and rotary_base at least 1")
        if self.query_heads % self.kv_heads:
            raise ConfigError(f"{self.query_heads} query heads cannot share {self.kv_heads} key heads evenly")
        if self.language_head and self.text != "tokens":
            raise ConfigError('language_head needs text = "tokens"')
        if self.streams == "crossed" and (self.text != "tokens" or self.local_layers):
            raise ConfigError('streams = "crossed" needs text = "tokens" and no local layers')
        strangers = [i for i in (*self.gelu7_layers, *self.local_layers) if not 0 <= i < self.layers]
        if strangers:
            raise ConfigError(f"layers {strangers} do not exist; the model has layers 0 to {self.layers - 1}")

    def _check(self, name: str, *allowed: str) -> None:
        if getattr(self, name) not in allowed:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(allowed)}")

    @property
    def layers(self) -> int:
        return self.specific_first + self.shared + self.specific_last

    def is_specific(self, layer: int) -> bool:
        """Whether a layer holds one copy of its weights per modality."""
        return layer < self.specific_first or layer >= self.specific_first + self.shared

    @property
    def gelu7_width(self) -> int:
        return 4 * self.hidden

    @property
    def swiglu7_width(self) -> int:
        """Two thirds of the plain width, so that both kinds cost the same; a multiple of 4."""
        return self.hidden * 4 * 2 // 3 // 4 * 4

    @property
    def bands(self) -> int:
        """Rotary frequencies per axis."""
        return self.head_dim // 8


def foal(**changes: Any) -> ModelConfig:
    """The small model of this package: 6.0 M parameters, reads word-piece tokens.

    Where the published geometry has room to spare and this one has not, it differs: rows as narrow as a token's own
    numbers need the noisy input at the end, and four bands per axis must tell neighbouring latent frames apart.
    """
    small = {"rotary_top": math.pi, "rotary_base": 81.0, "noisy_input": "added"}
    return ModelConfig.from_dict({**small, **changes})


def magihuman_15b(**changes: Any) -> ModelConfig:
    """The published 15.3 B geometry (daVinci-MagiHuman base and distilled), reads T5Gemma features."""
    published = {
        "hidden": 5120,
        "head_dim": 128,
        "query_heads": 40,
        "kv_heads": 8,
        "specific_first": 4,
        "shared": 32,
        "specific_last": 4,
        "gelu7_layers": (0, 1, 2, 3),
        "text": "features",
        "coordinates": "v2",
        "matmul_dtype": "bfloat16",
        "weight_dtype": "bfloat16",
    }
    return ModelConfig.from_dict({**published, **changes})
