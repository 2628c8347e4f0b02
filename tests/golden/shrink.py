"""Makes small.npz and small.json beside this file from the full reference set: python tests/golden/shrink.py FOLDER

The reference set was written by the authors' own code (see its manifest.json). Shrinking leaves the maths as it is:
- text features and the text embedder are rotated into the row space of all features used, which has 108 dimensions
  instead of 3584 (features = coordinates Q, weight' = weight Q^T, Q orthonormal);
- large outputs keep every n-th number, under the name "tensor::n";
- numbers are stored as planes of bytes, which compress better than the numbers themselves.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = ["dit_weights", "turbo_vae_weights", "wan_vae_weights", "audio_vae_weights"]
"""Kept whole."""
DIT = ["dit_t2v", "dit_ti2v", "dit_sr540", "dit_sr1080_local"]
LOOPS = [
    "loop_fake_base_cfg_t2v",
    "loop_fake_base_cfg_ti2v",
    "loop_fake_distill_ti2v",
    "loop_fake_sr_cfg1_ti2v",
    "loop_fake_sr_cfg2_trick",
    "loop_dit_distill_t2v",
    "loop_dit_distill_ti2v",
    "loop_dit_base_cfg",
]
EVALUATE = ["evaluate_distill_sr_ti2v", "evaluate_base_t2v"]
REST = ["sr_upsample_noise", "turbo_vae", "wan_vae", "audio_vae", "prepost", "t5gemma_encoder"]
KEPT = {
    "dit_": {
        "in.x_t": 1,
        "in.audio_x_t": 1,
        "in.txt_feat": 1,
        "out.video": 7,
        "out.audio": 7,
        "out_bf16.tokens": 7,
        "fp32.adapter.out": 31,
        "fp32.layer0.out": 31,
        "fp32.layer3.out": 31,
    },
    "rope_": {"row_index": 1, "coords": 1, "modality": 1, "bands": 1, "rope": 7},
    "pack_": dict.fromkeys(["x_t", "audio_x_t", "txt_feat", "coords", "q_ranges", "k_ranges"], 1)
    | {"token_sequence": 3, "model_output_tokens": 1, "unpacked_video": 3, "unpacked_audio": 3},
    "schedule": {f"steps{n}_shift5.{kind}": 1 for n in (4, 5, 8, 32) for kind in ("timesteps", "sigmas")},
    "sampler_": dict.fromkeys(["x_init", "sigmas", "noise", "noise_theta"], 1)
    | {"x_after_step": 5, "corrected_sample": 5},
    "loop_": dict.fromkeys(["init.video", "init.audio", "noise.video", "noise.audio", "image_latent"], 1)
    | dict.fromkeys(["text_cond", "text_null"], 1)
    | {"final.video": 3, "final.audio": 3, "after_step.video": 101, "after_step.audio": 101},
    "evaluate_": dict.fromkeys([*(f"draw{n}" for n in range(12)), "base.init.video", "base.init.audio"], 1)
    | dict.fromkeys(["image_latent_64x64", "image_latent_96x96", "text_cond", "text_null"], 1)
    | dict.fromkeys(["base.final.video", "base.final.audio", "result.video", "result.audio"], 3)
    | {"sr.init.video": 3, "sr.init.audio": 3},
    "sr_upsample_noise": dict.fromkeys(["base.video", "base.audio", "noise.video", "noise.audio", "zero_snr_table"], 1)
    | {"upsampled": 3, "sr_init.video": 3, "sr_init.audio": 3},
    "turbo_vae": dict.fromkeys(["latent", "latent_denormalised", "mean", "std"], 1)
    | {"video": 7, "decoder_first_chunk_of_2": 7, "decoder_next_chunk_of_2": 7},
    "wan_vae": dict.fromkeys(["image", "image_latent", "video", "video_latent", "mean", "std"], 1)
    | {"decoded_unclamped": 3},
    "audio_vae": dict.fromkeys(["latent", "enc_waveform", "enc_pre_bottleneck", "enc_mean", "enc_stdev"], 1)
    | {"waveform": 3},
}
WHOLE = ["prepost", "t5gemma_encoder"]


def main(source: Path) -> None:
    manifest = json.loads((source / "manifest.json").read_text())
    settings = _settings(manifest)
    full = {name: load_file(source / f"{name}.safetensors") for name in [*settings, *WEIGHTS]}
    _trim_text(settings, full)
    _rotate_text(full)
    small = {name: full.pop(name) for name in (*WEIGHTS, *WHOLE)}
    small |= {name: _kept(name, tensors) for name, tensors in full.items()}
    _save(small, settings, Path(__file__).parent)


def _settings(manifest: dict) -> dict[str, dict]:
    """What is known about every case apart from its tensors."""
    cases = {f"dit_{name}": case for name, case in manifest["dit_cases"].items()} | manifest["other_files"]
    named = [*DIT, *LOOPS, *EVALUATE, *REST, *WEIGHTS]
    chosen = [name for name in cases if name in named or name.startswith(("rope_", "pack_", "sched", "samp"))]
    return {name: {k: v for k, v in cases[name].items() if k not in ("tensors", "file")} for name in chosen}


def _trim_text(settings: dict[str, dict], full: dict[str, dict[str, Tensor]]) -> None:
    for name in DIT:
        full[name]["in.txt_feat"] = full[name]["in.txt_feat"][:, : settings[name]["n_text"]]


def _rotate_text(full: dict[str, dict[str, Tensor]]) -> None:
    places = [(name, "in.txt_feat") for name in DIT]
    places += [(name, key) for name in [*LOOPS, *EVALUATE] if "fake" not in name for key in ("text_cond", "text_null")]
    rows = torch.cat([full[name][key][0] for name, key in places]).double()
    basis = torch.linalg.svd(rows, full_matrices=False).Vh
    for name, key in places:
        full[name][key] = (full[name][key].double() @ basis.T).float()
    weights = full["dit_weights"]
    weights["adapter.text_embedder.weight"] = (weights["adapter.text_embedder.weight"].double() @ basis.T).float()


def _kept(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    strides = next(strides for prefix, strides in KEPT.items() if name.startswith(prefix))
    kept = {key: stride for key, stride in strides.items() if key in tensors}
    return {
        key if n == 1 else f"{key}::{n}": tensors[key].flatten()[::n] if n > 1 else tensors[key]
        for key, n in kept.items()
    }


def _save(small: dict[str, dict[str, Tensor]], settings: dict[str, dict], folder: Path) -> None:
    index, planes = {}, {}
    for name, tensors in small.items():
        for key, tensor in tensors.items():
            tensor = tensor.contiguous()
            index[f"{name}/{key}"] = [str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]
            raw = tensor.flatten().view(torch.uint8).numpy().reshape(-1, tensor.element_size())
            planes[f"{name}/{key}"] = np.ascontiguousarray(raw.T)
    np.savez_compressed(folder / "small.npz", **planes)
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in {"cases": settings, "index": index}.items()]
    (folder / "small.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
