"""The Wan 2.2 codec gives the numbers of its authors' own code, under their names, whole and in chunks."""

import sys

import pytest
import torch

from happyhorse.codecs.wan import WanConfig, WanVideoCodec, wan_names
from happyhorse.errors import MissingToolError, WeightsError

pytest.importorskip("diffusers")

TINY = WanConfig(encoder_width=4, decoder_width=4)


@pytest.fixture
def weights(golden):
    return golden("wan_vae_weights")


def loaded(config, weights, dtype=torch.float32) -> WanVideoCodec:
    """Built without memory and assigned to, as weights are streamed."""
    with torch.device("meta"):
        codec = WanVideoCodec(config)
    names = wan_names(weights, config.decoder)
    codec.load_state_dict({own: weights[name].to(dtype) for name, own in names.items()}, assign=True)
    return codec


@pytest.fixture
def codec(weights) -> WanVideoCodec:
    return loaded(TINY, weights)


@torch.no_grad()
def test_latents_are_those_of_the_authors_code(golden, codec):
    case = golden("wan_vae")
    for source, latent in (("image", "image_latent"), ("video", "video_latent")):
        encoded = codec.encode(case[source])
        assert encoded.dtype == torch.float32
        assert case.error(latent, encoded) < 1e-5


@torch.no_grad()
def test_frames_are_those_of_the_authors_code(golden, codec):
    case = golden("wan_vae")
    unclamped = torch.cat(list(codec.reconstruct(case["video_latent"])), dim=2)
    assert case.error("decoded_unclamped", unclamped) < 1e-4
    assert torch.equal(codec.decode(case["video_latent"]), unclamped.clamp(-1, 1))


@torch.no_grad()
def test_chunks_are_the_whole(codec):
    latent = 3 * torch.randn(1, 48, 5, 2, 2)
    whole = codec.decode(latent)
    assert whole.shape == (1, 3, 17, 32, 32)
    assert whole.dtype == torch.float32
    assert whole.abs().max() <= 1
    for chunk, counts in ((1, [1, 4, 4, 4, 4]), (2, [5, 8, 4]), (7, [17])):
        parts = list(codec.decode_chunks(latent, chunk))
        assert [part.shape[2] for part in parts] == counts
        assert torch.equal(torch.cat(parts, dim=2), whole)


@torch.no_grad()
def test_two_streams_do_not_disturb_each_other(codec):
    first, second = 3 * torch.randn(2, 1, 48, 3, 2, 2)
    alternating = [torch.cat(parts, dim=2) for parts in zip(*both(codec, first, second), strict=True)]
    assert torch.equal(alternating[0], codec.decode(first))
    assert torch.equal(alternating[1], codec.decode(second))


def both(codec: WanVideoCodec, first: torch.Tensor, second: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(codec.decode_chunks(first, 1), codec.decode_chunks(second, 1), strict=True))


@torch.no_grad()
def test_an_image_alone_is_the_first_latent_frame_of_its_clip(codec):
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    assert codec.encode(frames).shape == (1, 48, 3, 2, 2)
    torch.testing.assert_close(codec.encode(frames[:, :, :1]), codec.encode(frames)[:, :, :1])


@torch.no_grad()
def test_batch_equals_single_samples(codec):
    frames = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    latent = codec.encode(frames)
    torch.testing.assert_close(latent[1:], codec.encode(frames[1:]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(codec.decode(latent)[:1], codec.decode(latent[:1]), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_runs_in_the_dtype_of_its_weights_and_gives_float32(golden, weights):
    case, codec = golden("wan_vae"), loaded(TINY, weights, torch.bfloat16)
    latent, frames = codec.encode(case["image"]), codec.decode(case["video_latent"])
    assert latent.dtype == frames.dtype == torch.float32
    assert torch.equal(latent, latent.bfloat16().float())
    assert case.relative_l2("image_latent", latent) < 0.05


@torch.no_grad()
def test_encoder_alone(golden, weights, codec):
    half = loaded(TINY.replace(decoder=False), weights)
    assert not any("decoder" in name or "post_quant" in name for name in half.state_dict())
    video = golden("wan_vae")["video"]
    assert torch.equal(half.encode(video), codec.encode(video))


@pytest.mark.parametrize("decoder", [True, False])
def test_public_names_cover_the_module_one_to_one(weights, decoder):
    codec = WanVideoCodec(TINY.replace(decoder=decoder))
    names = wan_names(weights, decoder)
    assert len(set(names.values())) == len(names)
    assert set(names.values()) == set(codec.state_dict())


def test_the_published_geometry_has_704_million_parameters():
    with torch.device("meta"):
        whole, half = WanVideoCodec(WanConfig()), WanVideoCodec(WanConfig(decoder=False))
    assert sum(parameter.numel() for parameter in whole.parameters()) == 704_688_668
    assert sum(parameter.numel() for parameter in half.parameters()) == 149_637_088
    assert len(whole.state_dict()) == 196


@pytest.mark.parametrize(
    "name",
    [
        "encoder.conv_in.weight",
        "encoder.middle.0.residual.4.weight",
        "decoder.upsamples.0.downsamples.0.residual.2.bias",
        "decoder.head.2.scale",
        "conv1",
    ],
)
def test_foreign_names_are_refused(name):
    with pytest.raises(WeightsError, match=f"{name} is no tensor of the Wan 2.2 codec"):
        wan_names([name])


def test_missing_diffusers_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingToolError, match=r"pip install 'happyhorse\[magihuman\]'"):
        WanVideoCodec(TINY)
