"""The turbo decoder: the published numbers, chunk by chunk."""

import copy

import pytest
import torch
import torch.nn.functional as F

from happyhorse.codecs import turbo
from happyhorse.codecs.turbo import TurboConfig, TurboDecoder, plan_chunks
from happyhorse.codecs.turbo_published import config_from_json
from happyhorse.errors import ConfigError
from happyhorse.weights.store import load_config, save_module

SMALL = TurboConfig(widths=(8, 6, 4, 4), middle=1, resnets=(1, 1, 1, 1), first_chunk=3, step=2)


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def public(golden) -> TurboDecoder:
    case = golden("turbo_vae_weights")
    decoder = TurboDecoder(config_from_json(case.settings["config"]))
    decoder.load_state_dict(dict(case))
    return decoder


@pytest.fixture
def small() -> TurboDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return TurboDecoder(SMALL)


def latents(frames: int, batch: int = 1, seed: int = 5) -> torch.Tensor:
    return torch.randn(batch, 48, frames, 2, 3, generator=torch.Generator().manual_seed(seed))


def raw(decoder: TurboDecoder, latent: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(decoder.raw_chunks(latent)), dim=2)


def test_a_clip_has_the_published_numbers(golden, public):
    case = golden("turbo_vae")
    assert case.error("latent_denormalised", turbo.denormalised(case["latent"])) < 1e-5
    video = raw(public, case["latent"])
    assert video.shape == (1, 3, 21, 32, 48)
    assert case.error("video", video) < 1e-4
    assert case.error("video", video + 1e-2) > 1e-4


def test_the_network_alone_has_the_published_numbers(golden, public):
    case = golden("turbo_vae")
    two = case["latent_denormalised"][:, :, :2]
    assert case.error("decoder_first_chunk_of_2", public.decoder(two, True)) < 1e-4
    assert case.error("decoder_next_chunk_of_2", public.decoder(two, False)) < 1e-4


def test_the_published_geometry_has_107_million_parameters():
    with torch.device("meta"):
        tensors = TurboDecoder().state_dict()
    assert len(tensors) == 80
    assert sum(tensor.numel() for tensor in tensors.values()) == 107_122_892
    assert all(tensor.is_meta for tensor in tensors.values())


def test_a_decoder_without_weights_takes_those_that_it_is_given(small):
    with torch.device("meta"):
        empty = TurboDecoder(SMALL)
    empty.load_state_dict(small.state_dict(), assign=True)
    assert torch.equal(empty.decode(latents(4)), small.decode(latents(4)))


@pytest.mark.parametrize("frames", range(1, 9))
def test_every_latent_frame_after_the_first_is_four_frames(small, frames):
    assert small.decode(latents(frames)).shape == (1, 3, 4 * (frames - 1) + 1, 32, 48)


def test_frames_are_clamped_float32(small):
    loud = 30 * latents(4)
    frames = small.decode(loud)
    assert frames.dtype == torch.float32 and frames.abs().max() == 1
    assert torch.equal(frames, raw(small, loud).clamp(-1, 1)) and raw(small, loud).abs().max() > 1


def test_parts_are_the_models_own_whatever_is_asked_for(small):
    latent = latents(6)
    for chunk in (1, 4, 100):
        parts = list(small.decode_chunks(latent, chunk))
        assert [part.shape[2] for part in parts] == [9, 8, 4]
        assert torch.equal(torch.cat(parts, dim=2), small.decode(latent))


def test_a_part_is_made_when_it_is_asked_for(small):
    calls = []
    small.decoder.register_forward_hook(lambda *_: calls.append(1))
    for done, _ in enumerate(small.decode_chunks(latents(8), 2), 1):
        assert len(calls) == done
    assert len(calls) == 4


def test_a_clip_that_fills_no_chunk_ends_as_if_its_last_latent_frame_were_repeated(small):
    latent = latents(4)
    longer = torch.cat([latent, latent[:, :, -1:]], dim=2)
    assert torch.equal(small.decode(latent), small.decode(longer)[:, :, :13])


@pytest.mark.parametrize("total", range(1, 40))
def test_chunks_cover_a_clip_once(total):
    chunks = plan_chunks(total, 7, 7)
    assert sum(chunk.keep for chunk in chunks) == 4 * (total - 1) + 1
    assert [chunk.first for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert {chunk.stop - chunk.start for chunk in chunks} <= {7, 8, 9}
    ends = [4 * chunk.start + chunk.skip for chunk in chunks]
    assert ends == [28 * k for k in range(len(chunks))], "in frames at four per latent frame, seven of these at a time"


def test_context_reaches_one_latent_frame_beyond_a_chunk(small):
    latent = latents(7)
    near, far = latent.clone(), latent.clone()
    near[:, :, 3] += 1
    far[:, :, 4] += 1
    first, near_first, far_first = (next(small.raw_chunks(x)) for x in (latent, near, far))
    assert not torch.allclose(first, near_first) and torch.equal(first, far_first)


def test_the_shortest_first_chunk_still_begins_with_a_single_frame():
    decoder = TurboDecoder(SMALL.replace(first_chunk=1, step=1))
    assert [part.shape[2] for part in decoder.decode_chunks(latents(3), 1)] == [1, 4, 4]


def test_two_clips_at_once_are_the_same_as_one_after_the_other(public):
    latent = latents(4, batch=2)
    public.double()
    torch.testing.assert_close(raw(public, latent), torch.cat([raw(public, one) for one in latent.split(1)]))


def test_bfloat16_weights_compute_in_bfloat16_and_stay_close(golden, public):
    case = golden("turbo_vae")
    public.bfloat16()
    assert next(public.raw_chunks(case["latent"])).dtype == torch.bfloat16
    assert public.decode(case["latent"]).dtype == torch.float32
    assert case.relative_l2("video", raw(public, case["latent"])) < 0.03


def test_kernels_with_channels_innermost_give_the_same_frames(public):
    other = copy.deepcopy(public.double()).channels_last()
    conv, flat = other.decoder.conv_in.conv.weight, other.decoder.up_blocks[0].upsamplers[0].resample[1].weight
    assert conv.is_contiguous(memory_format=torch.channels_last_3d)
    assert flat.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(raw(other, latents(3)), raw(public, latents(3)))


def test_convolutions_too_large_for_one_call_are_done_in_parts(public, monkeypatch):
    latent, calls = latents(3), []
    whole = raw(public.double(), latent)
    monkeypatch.setattr(turbo, "NUMBERS_MAX", 40_000)
    public.decoder.conv_out.conv.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(raw(public, latent), whole)
    assert len(calls) > 1


def test_repeated_pixels_halves_of_channels_and_squares_lie_where_they_should():
    pictures = torch.randn(3, 4, 5, 6)
    assert torch.equal(turbo.Nearest()(pictures), F.interpolate(pictures, scale_factor=2, mode="nearest"))
    x = torch.randn(2, 6, 4, 5, 7)
    woven = turbo.interleave(x)
    assert torch.equal(woven[:, :, 0::2], x[:, :3]) and torch.equal(woven[:, :, 1::2], x[:, 3:])
    squares = turbo.unpatchify(torch.arange(12.0).reshape(1, 12, 1, 1, 1))
    assert squares[0, 1, 0].tolist() == [[4, 6], [5, 7]]


def test_the_channel_norm_leaves_a_mean_square_of_one():
    x = 3 + torch.randn(2, 16, 2, 3, 4)
    torch.testing.assert_close(turbo.channel_norm(x).square().mean(dim=1), torch.ones(2, 2, 3, 4))
    expected = x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 0.5)
    torch.testing.assert_close(turbo.channel_norm(x, 0.5), expected)


def test_settings_that_make_no_decoder_are_refused():
    with pytest.raises(ConfigError, match="8 frames of 16 x 16 pixels"):
        TurboConfig(doubles=("time and space", "time and space", "time and space", "nothing"))
    with pytest.raises(ConfigError, match="at least 1"):
        TurboConfig(step=0)
    with pytest.raises(ConfigError, match="one value per stage"):
        TurboConfig(widths=(8, 8))
    with pytest.raises(ConfigError, match="'time'"):
        TurboConfig(doubles=("time and space", "time and space", "time", "nothing"))


def test_the_configuration_travels_with_the_weights(small, tmp_path):
    save_module(small, tmp_path / "turbo.safetensors")
    assert load_config(TurboConfig, tmp_path / "turbo.safetensors") == SMALL


@pytest.mark.parametrize("numbers", [1, 4000, 20_000])
@torch.no_grad()
def test_bands_of_rows_give_the_same_frames(monkeypatch, numbers):
    torch.manual_seed(0)
    decoder = TurboDecoder(TurboConfig(widths=(16, 12, 8, 4), middle=1, resnets=(1, 1, 1, 1))).double()
    latent = torch.randn(2, 48, 3, 5, 4, dtype=torch.float64)
    expected = list(decoder.raw_chunks(latent))
    monkeypatch.setattr(turbo, "BAND_NUMBERS", numbers)
    for found, wanted in zip(decoder.raw_chunks(latent), expected, strict=True):
        torch.testing.assert_close(found, wanted)
