"""The Stable Audio Open codec gives the numbers of its authors' own code, under their names, at any length."""

import itertools
import sys

import pytest
import torch

from happyhorse.codecs.oobleck import OobleckConfig, StableAudioCodec, crossfade, oobleck_names, windows
from happyhorse.errors import MediaError, MissingToolError, WeightsError

pytest.importorskip("diffusers")

TINY = OobleckConfig(width=4)


def loaded(config, weights) -> StableAudioCodec:
    """Built without memory and assigned to, as weights are streamed."""
    with torch.device("meta"):
        codec = StableAudioCodec(config)
    codec.load_state_dict({own: weights[name] for name, own in oobleck_names(weights).items()}, assign=True)
    return codec


@pytest.fixture
def weights(golden):
    return golden("audio_vae_weights")


@pytest.fixture
def codec(weights) -> StableAudioCodec:
    return loaded(TINY, weights)


def noise(latents: int, batch: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 2, 2048 * latents, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_sound_is_that_of_the_authors_code(golden, codec):
    case = golden("audio_vae")
    waveform = codec.decode(case["latent"].transpose(1, 2))
    assert waveform.shape == (1, 2, 5 * 2048)
    assert waveform.dtype == torch.float32
    assert case.error("waveform", waveform) < 1e-4


@torch.no_grad()
def test_posterior_is_that_of_the_authors_code(golden, codec):
    case = golden("audio_vae")
    mean, stdev = codec.posterior(case["enc_waveform"])
    assert case.error("enc_mean", mean.transpose(1, 2)) < 1e-4
    assert case.error("enc_stdev", stdev.transpose(1, 2)) < 1e-4


@torch.no_grad()
def test_latents_are_the_mean_or_a_sample_of_the_posterior(codec):
    waveform = noise(3)
    mean, stdev = codec.posterior(waveform)
    assert mean.shape == (1, 3, 64)
    assert torch.equal(codec.encode(waveform), mean)
    samples = [codec.encode(waveform, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    standard = torch.randn(1, 64, 3, generator=torch.Generator().manual_seed(5)).transpose(1, 2)
    torch.testing.assert_close(samples[0], mean + stdev * standard)
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


@torch.no_grad()
@pytest.mark.parametrize("samples", [2048, 5000, 3 * 2048 - 1, 3 * 2048])
def test_one_latent_for_each_2048_whole_samples(codec, samples):
    assert codec.encode(noise(3)[..., :samples]).shape == (1, samples // 2048, 64)


def test_less_than_one_latent_is_refused(codec):
    with pytest.raises(MediaError, match="2047 samples and one latent needs 2048"):
        codec.encode(torch.zeros(1, 2, 2047))


@torch.no_grad()
def test_batch_equals_single_samples(codec):
    codec, waveform = codec.double(), noise(3, batch=2)  # random snakes make much of a rounding error
    latent = codec.encode(waveform)
    torch.testing.assert_close(latent[1:], codec.encode(waveform[1:]))
    torch.testing.assert_close(codec.decode(latent)[:1], codec.decode(latent[:1]))


@pytest.mark.parametrize("count", [1, 724, 725, 726, 1088, 1089, 5000])
def test_windows_cover_everything_and_overlap_by_half(count):
    spans = windows(count, 725)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    assert all(stop - start == 725 for start, stop in spans[:-1])
    assert all(before[1] - after[0] == 362 for before, after in itertools.pairwise(spans))
    assert len(spans) == 1 or spans[-1][1] > spans[-2][1]


def test_a_crossfade_is_linear_where_two_parts_overlap():
    zeros, ones = torch.zeros(1, 6, 1), torch.ones(1, 5, 1)
    faded = crossfade([zeros, ones], 2).flatten().tolist()
    assert faded == [0, 0, 0, 0.25, 0.5, 0.75, 1]


def test_a_crossfade_of_what_agrees_is_the_whole():
    whole = torch.randn(2, 13, 4)
    parts = [whole[:, start:stop] for start, stop in windows(13, 5)]
    torch.testing.assert_close(crossfade(parts, 3), whole)


@torch.no_grad()
def test_long_sound_is_read_in_windows(weights):
    """Away from the ends of a window nothing changes; where windows overlap, their latents are blended."""
    waveform = noise(40)
    whole = loaded(TINY, weights).encode(waveform)
    in_parts = loaded(TINY.replace(window=27), weights).encode(waveform)
    assert in_parts.shape == whole.shape
    torch.testing.assert_close(in_parts[:, :14], whole[:, :14])
    torch.testing.assert_close(in_parts[:, 27:], whole[:, 27:], atol=1e-5, rtol=1e-4)
    late = loaded(TINY, weights).encode(waveform[..., 14 * 2048 :])
    early = loaded(TINY, weights).encode(waveform[..., : 27 * 2048])
    weight = torch.arange(13)[:, None] / 13
    torch.testing.assert_close(in_parts[:, 14:27], early[:, 14:] * (1 - weight) + late[:, :13] * weight)


def test_public_names_cover_the_module_one_to_one(weights):
    names = oobleck_names(weights)
    state = StableAudioCodec(TINY).state_dict()
    assert len(set(names.values())) == len(names)
    assert {own: weights[name].shape for name, own in names.items()} == {own: t.shape for own, t in state.items()}


def test_the_whole_public_file_is_understood(weights):
    public = {f"pretransform.model.{name}": own for name, own in oobleck_names(weights).items()}
    others = ["model.model.project_in.weight", "conditioner.conditioners.prompt.proj_out.bias"]
    assert oobleck_names([*others, *public]) == public


def test_the_published_geometry_has_156_million_parameters():
    with torch.device("meta"):
        codec = StableAudioCodec(OobleckConfig())
    assert sum(parameter.numel() for parameter in codec.parameters()) == 156_112_514
    assert len(codec.state_dict()) == 365
    assert OobleckConfig().stride == 2048


@pytest.mark.parametrize(
    "name", ["encoder.block.0.conv1.bias", "decoder.layers.1.layers.5.bias", "encoder.layers.0.weight", "layers.0.bias"]
)
def test_foreign_names_are_refused(name):
    with pytest.raises(WeightsError, match=f"{name} is no tensor of the Stable Audio Open codec"):
        oobleck_names([name])


def test_missing_diffusers_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingToolError, match=r"pip install 'happyhorse\[magihuman\]'"):
        StableAudioCodec(TINY)
