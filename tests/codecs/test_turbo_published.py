"""The turbo decoder's published files are read strictly: settings, and the averaged weights of a checkpoint."""

import json

import pytest
import torch

from happyhorse.codecs.turbo import TurboConfig, TurboDecoder
from happyhorse.codecs.turbo_published import REQUIRED, config_from_json, public_weights
from happyhorse.errors import WeightsError

SMALL = TurboConfig(widths=(8, 6, 4, 4), middle=1, resnets=(1, 1, 1, 1), first_chunk=3, step=2)
PUBLISHED = {
    "_class_name": "TurboVAED",
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 48,
    "decoder_block_out_channels": [64, 128, 256, 512],
    "decoder_layers_per_block": [2, 2, 2, 3, 3],
    "decoder_spatio_temporal_scaling": [False, True, True, True],
    "decoder_spatio_only": [False, True, False, False],
    "decoder_is_dw_conv": [False, False, False, False, False],
    "decoder_dw_kernel_size": 5,
    "decoder_causal": False,
    "resnet_norm_eps": 1e-6,
    "patch_size": 2,
    "patch_size_t": 1,
    "use_unpatchify": True,
    "first_chunk_size": 7,
    "step_size": 7,
    "spatial_compression_ratio": 16,
    "temporal_compression_ratio": 4,
    "scaling_factor": 1.0,
    "aligned_feature_projection_mode": "conv-2layer",
    "aligned_feature_projection_dim": [[512, 1024], [512, 1024]],
    "aligned_blks_indices": [0, 1],
}


@pytest.fixture
def small() -> TurboDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return TurboDecoder(SMALL)


def test_the_published_settings_are_the_defaults():
    assert config_from_json(PUBLISHED) == TurboConfig()
    assert config_from_json(json.loads(json.dumps(PUBLISHED))) == TurboConfig()
    assert config_from_json({**PUBLISHED, "decoder_inject_noise": [False, False]}) == TurboConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_channels", 16),
        ("decoder_causal", True),
        ("decoder_is_dw_conv", [False, False, False, True, True]),
        ("use_unpatchify", False),
        ("use_unpatchify", 1),
        ("patch_size", 4),
        ("decoder_block_out_channels", "64"),
        ("decoder_block_out_channels", []),
        ("decoder_layers_per_block", [2, 2, 3, 3]),
        ("decoder_layers_per_block", [2, 2, 2, 3, 2.5]),
        ("decoder_spatio_only", [0, 1, 0, 0]),
        ("first_chunk_size", "7"),
        ("resnet_norm_eps", None),
        ("decoder_inject_noise", [True, False]),
        ("upsample_residual", True),
    ],
)
def test_settings_that_cannot_be_done_are_named(name, value):
    with pytest.raises(WeightsError, match=name):
        config_from_json({**PUBLISHED, name: value})


@pytest.mark.parametrize("name", REQUIRED)
def test_settings_that_are_missing_are_named(name):
    with pytest.raises(WeightsError, match=f"lack {name}"):
        config_from_json({key: value for key, value in PUBLISHED.items() if key != name})


def test_settings_that_make_no_decoder_are_refused():
    with pytest.raises(WeightsError, match="8 frames of 16 x 16 pixels"):
        config_from_json({**PUBLISHED, "decoder_spatio_only": [False] * 4})
    with pytest.raises(WeightsError, match="at least 1"):
        config_from_json({**PUBLISHED, "step_size": 0})
    with pytest.raises(WeightsError, match="not a JSON object"):
        config_from_json([])  # type: ignore[arg-type]


def checkpoint_of(decoder: TurboDecoder) -> dict:
    averaged = {f"module.{name}": tensor for name, tensor in decoder.state_dict().items()}
    averaged |= {"module.aligned_feature_projection_heads.0.0.conv.weight": torch.zeros(2)}
    averaged |= {"module.latents_mean": torch.zeros(48), "module.latents_std": torch.ones(48)}
    return {"ema_state_dict": averaged, "step": 340_000}


def test_the_averaged_weights_are_what_is_taken_from_the_published_file(small):
    weights = public_weights(checkpoint_of(small), SMALL)
    assert weights.keys() == small.state_dict().keys()
    other = TurboDecoder(SMALL)
    other.load_state_dict(weights)
    latent = torch.randn(1, 48, 3, 2, 3)
    with torch.no_grad():
        assert torch.equal(other.decode(latent), small.decode(latent))


@pytest.mark.parametrize("checkpoint", [{}, {"state_dict": {}}, {"ema_state_dict": None}, [], None])
def test_a_file_without_averaged_weights_is_refused(checkpoint):
    with pytest.raises(WeightsError, match="no ema_state_dict"):
        public_weights(checkpoint)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"decoder\.conv_out\.conv\.bias is missing, the decoder has \(12,\)"),
        (torch.zeros(3), r"decoder\.conv_out\.conv\.bias is \(3,\)"),
        ("text", r"decoder\.conv_out\.conv\.bias is \(\)"),
    ],
)
def test_a_file_of_other_weights_is_refused(small, value, message):
    checkpoint = checkpoint_of(small)
    del checkpoint["ema_state_dict"]["module.decoder.conv_out.conv.bias"]
    if value is not None:
        checkpoint["ema_state_dict"]["module.decoder.conv_out.conv.bias"] = value
    with pytest.raises(WeightsError, match=message):
        public_weights(checkpoint, SMALL)


def test_unknown_tensors_are_refused(small):
    checkpoint = checkpoint_of(small)
    checkpoint["ema_state_dict"]["module.decoder.attention.weight"] = torch.zeros(2)
    with pytest.raises(WeightsError, match=r"decoder\.attention\.weight is .* none of that name"):
        public_weights(checkpoint, SMALL)
    with pytest.raises(WeightsError, match="tensors"):
        public_weights(checkpoint_of(small))
