import math

import pytest
import torch

from happyhorse.config import ModelConfig, magihuman_15b
from happyhorse.errors import WeightsError
from happyhorse.types import Latents, Text
from happyhorse.weights.formats import (
    FORMATS,
    PUBLIC,
    WAYS,
    blank,
    bytes_of,
    kept_config,
    measured_errors,
    public_kind,
    public_transformer,
    relative_error,
)

SMALL = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text="features", coordinates="v2")


# --------------------------------------------------------------------------------------------- the public checkpoints
def test_base_and_distilled_are_the_published_geometry():
    assert public_transformer("base") == public_transformer("distill") == magihuman_15b()


def test_the_enlarging_models_count_positions_in_their_own_way():
    middle, large = public_transformer("540p"), public_transformer("1080p")
    assert middle == magihuman_15b(coordinates="v1")
    full = [layer for layer in range(40) if layer not in large.local_layers]
    assert full == [3, 7, 11, 15, 19, 23, 27, 31] and len(large.local_layers) == 32
    assert large.receptive_field == 11
    assert large.replace(local_layers=()) == middle


def published_shapes() -> dict[str, tuple[list[int], torch.dtype]]:
    """The 331 tensors of every public Transformer: block matrices in bfloat16, everything else in float32."""
    narrow = {"attention.pre_norm": 5120, "mlp.pre_norm": 5120, "attention.q_norm": 128, "attention.k_norm": 128}
    wide = {"attention.linear_qkv": (7208, 5120), "attention.linear_proj": (5120, 5120)}
    shapes = dict[str, tuple[list[int], torch.dtype]]()
    for layer in range(40):
        copies = 1 if 4 <= layer < 36 else 3
        up, width = (20480, 20480) if layer < 4 else (27304, 13652)
        matrices = {**wide, "mlp.up_gate_proj": (up, 5120), "mlp.down_proj": (5120, width)}
        prefix = f"block.layers.{layer}"
        shapes |= {f"{prefix}.{key}.weight": ([copies * size], torch.float32) for key, size in narrow.items()}
        shapes |= {f"{prefix}.{key}.weight": ([copies * n, m], torch.bfloat16) for key, (n, m) in matrices.items()}
    for name, inputs in (("video", 192), ("audio", 64), ("text", 3584)):
        shapes[f"adapter.{name}_embedder.weight"] = ([5120, inputs], torch.float32)
        shapes[f"adapter.{name}_embedder.bias"] = ([5120], torch.float32)
    for name, outputs in (("video", 192), ("audio", 64)):
        shapes[f"final_norm_{name}.weight"] = ([5120], torch.float32)
        shapes[f"final_linear_{name}.weight"] = ([outputs, 5120], torch.float32)
    return shapes | {"adapter.rope.bands": ([16], torch.float32)}


@pytest.mark.parametrize("kind", ["base", "1080p"])
def test_a_blank_public_model_has_the_published_tensors(kind):
    state = blank(public_transformer(kind), "bf16").state_dict()
    assert len(state) == 331
    assert {name: (list(tensor.shape), tensor.dtype) for name, tensor in state.items()} == published_shapes()


def test_kinds_are_told_from_the_names_of_folders(tmp_path):
    names = {"base": "base", "distill": "distill", "540p_sr": "540p", "1080p_sr": "1080p", "magihuman-540p": "540p"}
    for folder, kind in names.items():
        assert public_kind(tmp_path / folder) == kind
    (tmp_path / "distill").mkdir()
    (tmp_path / "distill" / "model.safetensors").touch()
    assert public_kind(tmp_path / "distill" / "model.safetensors") == "distill"
    with pytest.raises(WeightsError, match=r"name of .*weights does not say .* --kind base\|distill\|540p\|1080p"):
        public_kind(tmp_path / "weights")
    with pytest.raises(WeightsError, match="no public Transformer '720p'; there are base, distill, 540p, 1080p"):
        public_transformer("720p")
    assert all(public_transformer(kind).layers == 40 for kind in PUBLIC)


# --------------------------------------------------------------------------------------------------------- the formats
def test_blank_models_take_no_memory_and_keep_the_rest_in_float32():
    for number_format in FORMATS:
        state = blank(SMALL, number_format).state_dict()
        assert all(tensor.is_meta for tensor in state.values())
        matrices = {tensor.dtype for name, tensor in state.items() if name.startswith("block") and tensor.ndim > 1}
        matrices.discard(torch.float32)  # scales
        assert matrices == {{"bf16": torch.bfloat16, "fp8": torch.float8_e4m3fn, "int8": torch.int8}[number_format]}
        others = {tensor.dtype for name, tensor in state.items() if not name.startswith("block")}
        assert others == {torch.float32}
    with pytest.raises(WeightsError, match="no format 'int4'; choose one of bf16, fp8, int8"):
        blank(SMALL, "int4")


def test_only_bf16_changes_the_configuration():
    assert kept_config(SMALL, "bf16") == SMALL.replace(weight_dtype="bfloat16")
    assert kept_config(SMALL, "fp8") == kept_config(SMALL, "int8") == SMALL


def test_bytes_of_the_public_geometry():
    base = public_transformer("base")
    assert bytes_of(base, "bf16") == 30_642_008_128
    assert bytes_of(base, "int8") == bytes_of(base, "fp8") < 0.503 * bytes_of(base, "bf16")


# --------------------------------------------------------------------------------------------------------------- error
def test_relative_error_counts_all_numbers_alike():
    reference = Latents(torch.ones(1, 2, 2, 1, 1), torch.zeros(1, 4, 1))
    other = Latents(torch.ones(1, 2, 2, 1, 1), torch.full((1, 4, 1), 0.5))
    assert relative_error(reference, reference) == 0
    assert math.isclose(relative_error(reference, other), 0.5)


BOUNDS = {
    "bf16": (0, 0.02),
    "int8, weights only": (0.01, 0.05),
    "fp8, weights only": (0.03, 0.16),
    "int8, dynamic, outer layers bf16": (0.01, 0.06),
    "fp8, dynamic, outer layers bf16": (0.03, 0.18),
    "int8, dynamic everywhere": (0.01, 0.07),
    "fp8, dynamic everywhere": (0.03, 0.22),
}
"""Least and largest relative L2 error of a velocity; random weights are harder to round than trained ones."""


@pytest.mark.parametrize("name", ["dit_t2v", "dit_sr1080_local"])
def test_what_each_way_costs_in_precision(golden, name):
    case = golden(name)
    count = case.settings["n_text"]
    text = Text(case["in.txt_feat"][:, :count], torch.tensor([count]))
    latents = Latents(case["in.x_t"], case["in.audio_x_t"])
    errors = measured_errors(lambda dtype: golden.published(case, matmul_dtype=dtype), latents, text)
    assert list(errors) == list(WAYS) == list(BOUNDS)
    assert all(low < errors[way] < high for way, (low, high) in BOUNDS.items()), errors
    assert errors["bf16"] < errors["int8, weights only"] < errors["fp8, weights only"]
    for kind in ("int8", "fp8"):
        assert errors[f"{kind}, weights only"] < errors[f"{kind}, dynamic everywhere"]
        assert errors[f"{kind}, dynamic, outer layers bf16"] < errors[f"{kind}, dynamic everywhere"]
