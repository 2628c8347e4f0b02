"""The turbo decoder's published files: settings in JSON, and a torch checkpoint of its whole training.

They are read strictly: what this decoder (codecs/turbo.py) cannot do is an error, never passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from happyhorse.codecs.turbo import COLOURS, PATCH, TurboConfig, TurboDecoder
from happyhorse.codecs.wan_scale import LATENT_MEAN
from happyhorse.errors import ConfigError, WeightsError
from happyhorse.types import SPACE_STRIDE, TIME_STRIDE

FIXED = {
    "latent_channels": len(LATENT_MEAN),
    "out_channels": COLOURS,
    "patch_size": PATCH,
    "patch_size_t": 1,
    "use_unpatchify": True,
    "decoder_causal": False,
    "decoder_is_dw_conv": False,
    "scaling_factor": 1.0,
    "spatial_compression_ratio": SPACE_STRIDE,
    "temporal_compression_ratio": TIME_STRIDE,
}
"""Published settings of which this decoder knows one value; in a list, every entry must have it."""
GEOMETRY = (
    "decoder_block_out_channels",
    "decoder_layers_per_block",
    "decoder_spatio_temporal_scaling",
    "decoder_spatio_only",
    "first_chunk_size",
    "step_size",
    "resnet_norm_eps",
)
REQUIRED = (*GEOMETRY[:-1], "latent_channels", "patch_size", "use_unpatchify")
"""Settings that must be there: what the authors' code takes for a missing one is not what they published."""
ENCODER = ("in_channels", "block_out_channels", "layers_per_block", "spatio_temporal_scaling", "encoder_")
NOT_DECODING = ("_", "aligned_", "decoder_dw_kernel_size", *ENCODER)
"""Beginnings of settings that nothing depends on here: of the format, of training, of parts that are not there."""
TRAINING_ONLY = ("aligned_feature_projection_heads.", "latents_mean", "latents_std")
"""Beginnings of tensors beside the decoder's: heads of its training, and constants that codecs/wan_scale.py holds."""


def config_from_json(values: dict[str, Any]) -> TurboConfig:
    """The geometry that the published JSON file describes. Raises WeightsError naming a setting that is missing, or
    that asks for what this decoder cannot do."""
    _check_settings(values)
    widths = _list(values, "decoder_block_out_channels", int)
    resnets = _list(values, "decoder_layers_per_block", int, len(widths) + 1)
    grows = _list(values, "decoder_spatio_temporal_scaling", bool, len(widths))
    flat = _list(values, "decoder_spatio_only", bool, len(widths))
    try:
        return TurboConfig(
            widths=widths[::-1],
            middle=resnets[-1],
            resnets=resnets[-2::-1],
            doubles=tuple(_doubles(*both) for both in zip(grows, flat, strict=True))[::-1],
            first_chunk=_typed("first_chunk_size", values["first_chunk_size"], int),
            step=_typed("step_size", values["step_size"], int),
            shortcut_eps=_typed("resnet_norm_eps", values.get("resnet_norm_eps", 1e-6), float),
        )
    except ConfigError as error:
        raise WeightsError(f"the turbo decoder's settings do not make a decoder: {error}") from error


def _doubles(grows: bool, flat: bool) -> str:
    if not grows:
        return "nothing"
    return "space" if flat else "time and space"


def _check_settings(values: dict[str, Any]) -> None:
    if not isinstance(values, dict):
        raise WeightsError(f"the turbo decoder's settings are a {type(values).__name__}, not a JSON object")
    missing = [name for name in REQUIRED if name not in values]
    if missing:
        raise WeightsError(f"the turbo decoder's settings lack {', '.join(missing)}; take the published JSON file")
    for name, value in values.items():
        entries = value if isinstance(value, list) else [value]
        if name in FIXED and not all(_same(entry, FIXED[name]) for entry in entries):
            raise WeightsError(f"the turbo decoder's {name} is {value!r}; this decoder can do {FIXED[name]!r} only")
        known = name in FIXED or name in GEOMETRY or name.startswith(NOT_DECODING)
        if not known and any(entries):  # what is switched off needs no knowing
            raise WeightsError(f"the turbo decoder's settings have {name} = {value!r}, which this decoder cannot do")


def _same(value: Any, wanted: Any) -> bool:
    """Equal, and not a number where a flag is wanted or the other way round."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


def _list(values: dict[str, Any], name: str, kind: type, length: int | None = None) -> tuple[Any, ...]:
    """A setting that is a list of ``kind``, of ``length`` if given."""
    value = values[name]
    if not isinstance(value, list) or not value or length not in (None, len(value)):
        wanted = f"{length} values" if length else "values"
        raise WeightsError(f"the turbo decoder's {name} is {value!r}; it must be a list of {wanted}")
    return tuple(_typed(name, entry, kind) for entry in value)


def _typed(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise WeightsError(f"the turbo decoder's {name} has the value {value!r}; it must be a {kind.__name__}")
    return value


def public_weights(checkpoint: dict[str, Any], config: TurboConfig | None = None) -> dict[str, Tensor]:
    """State dict of a TurboDecoder of ``config`` from the content of the published torch file.

    Raises WeightsError unless the averaged weights in it are exactly those of such a decoder.
    """
    averaged = checkpoint.get("ema_state_dict") if isinstance(checkpoint, dict) else None
    if not isinstance(averaged, Mapping):
        raise WeightsError("the turbo decoder's file has no ema_state_dict; take the published checkpoint-340000.ckpt")
    named = {str(name).removeprefix("module."): tensor for name, tensor in averaged.items()}
    weights = {name: tensor for name, tensor in named.items() if not name.startswith(TRAINING_ONLY)}
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in TurboDecoder(config).state_dict().items()}
    found = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in weights.items()}
    wrong = sorted(name for name in wanted | found if wanted.get(name) != found.get(name))
    if wrong:
        raise WeightsError(
            f"the turbo decoder's file does not fit its settings in {len(wrong)} tensors: {wrong[0]} is "
            f"{found.get(wrong[0], 'missing')}, the decoder has {wanted.get(wrong[0], 'none of that name')}"
        )
    return weights
