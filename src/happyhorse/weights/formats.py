"""The formats in which a Transformer's weights are kept, what they cost in precision, and the public checkpoints.

    bf16   block matrices in bfloat16: the published form
    fp8    block matrices as float8_e4m3fn with a float32 scale for each row
    int8   block matrices as int8 with a float32 scale for each row

Adapters, norms, heads and rotary bands are float32 in all of them. ``happyhorse.model.quantised`` has the maths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from happyhorse.config import ModelConfig, magihuman_15b
from happyhorse.errors import WeightsError
from happyhorse.model.quantised import KINDS, quantise
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

FORMATS = ("bf16", *sorted(KINDS))

WAYS: dict[str, dict] = {
    "bf16": {},
    "int8, weights only": {"kind": "int8"},
    "fp8, weights only": {"kind": "fp8"},
    "int8, dynamic, outer layers bf16": {"kind": "int8", "dynamic": True},
    "fp8, dynamic, outer layers bf16": {"kind": "fp8", "dynamic": True},
    "int8, dynamic everywhere": {"kind": "int8", "dynamic": True, "skip": ()},
    "fp8, dynamic everywhere": {"kind": "fp8", "dynamic": True, "skip": ()},
}
"""Ways to compute, by the name that they have in tables, as arguments of ``quantise``."""


# --------------------------------------------------------------------------------------------- the public checkpoints
PUBLIC = ("base", "distill", "540p", "1080p")
"""The public Transformers: two that make clips, two that enlarge them."""


def public_transformer(kind: str) -> ModelConfig:
    """The configuration of the public checkpoint ``kind``: "base", "distill", "540p" or "1080p".

    They differ in two things that their weights do not show: how positions are counted, and that the largest one looks
    only 11 latent frames to each side in 32 of its layers. Raises WeightsError for another kind.
    """
    if kind not in PUBLIC:
        raise WeightsError(f"there is no public Transformer {kind!r}; there are {', '.join(PUBLIC)}")
    if kind in ("base", "distill"):
        return magihuman_15b()
    if kind == "540p":
        return magihuman_15b(coordinates="v1")
    near = tuple(layer for layer in range(40) if layer >= 32 or layer % 4 != 3)
    return magihuman_15b(coordinates="v1", local_layers=near, receptive_field=11)


def public_kind(source: Path | str) -> str:
    """Which public checkpoint ``source`` is, by its folder's name. Raises WeightsError if that does not say."""
    path = Path(source).resolve()
    name = (path.parent if path.is_file() else path).name.lower()
    found = next((kind for kind in reversed(PUBLIC) if kind in name), None)
    if found is None:
        raise WeightsError(f"the name of {source} does not say which checkpoint it is; say --kind {'|'.join(PUBLIC)}")
    return found


# --------------------------------------------------------------------------------------------------------- the formats
def check_format(number_format: str) -> None:
    """Raises WeightsError for a format that there is not."""
    if number_format not in FORMATS:
        raise WeightsError(f"there is no format {number_format!r}; choose one of {', '.join(FORMATS)}")


def kept_config(config: ModelConfig, number_format: str) -> ModelConfig:
    """The configuration of a model once its weights are kept in a format."""
    return config.replace(weight_dtype="bfloat16") if number_format == "bf16" else config


def blank(config: ModelConfig, number_format: str) -> Transformer:
    """A model on the meta device, without numbers, whose tensors are those of a file in this format."""
    check_format(number_format)
    with torch.device("meta"):
        model = Transformer(kept_config(config, number_format))
        if number_format in KINDS:
            quantise(model, number_format)
    return model


def bytes_of(config: ModelConfig, number_format: str) -> int:
    """Bytes of a model's tensors in a format."""
    return sum(tensor.nbytes for tensor in blank(config, number_format).state_dict().values())


# --------------------------------------------------------------------------------------------------------------- error
def relative_error(reference: Latents, other: Latents) -> float:
    """Relative L2 distance of all numbers of picture and sound: ``|other - reference| / |reference|``."""
    difference = reference.zip(other, lambda a, b: (a.double() - b.double()).square().sum())
    size = Latents(*(part.double().square().sum() for part in (reference.video, reference.audio)))
    return float(((difference.video + difference.audio) / (size.video + size.audio)).sqrt())


@torch.inference_mode()
def measured_errors(build: Callable[[str], Transformer], latents: Latents, text: Text) -> dict[str, float]:
    """Relative error of a model's velocity for each of ``WAYS``, against the same weights in float32 maths.

    ``build(matmul_dtype)`` makes the model anew.
    """
    reference, errors = build("float32")(latents, text), {}
    for name, way in WAYS.items():
        model = build("bfloat16")
        if way:
            quantise(model, **way)
        errors[name] = relative_error(reference, model(latents, text))
    return errors
