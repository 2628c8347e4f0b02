"""The sound codec's closed-form part and its losses."""

import torch

from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig, unstack_columns
from happyhorse.training.sound import fit_components, random_windows, scene_sounds, spectral_distance, vocoder_loss

SMALL = AudioCodecConfig(decoder_width=16, vocoder_width=16, vocoder_blocks=1)


@torch.no_grad()
def test_fitted_components_are_orthonormal_scaled_and_invert_what_they_span():
    codec = AudioCodec(SMALL)
    basis = torch.randn(20, 320)
    values = unstack_columns(torch.randn(8, 30, 20) @ basis)  # log-mels of rank 20
    fit_components(codec, values)
    torch.testing.assert_close(codec.components @ codec.components.T, torch.eye(64), atol=1e-4, rtol=0)
    latent = codec.encode_mel(values)
    assert abs(latent.square().mean().sqrt().item() - 1) < 0.05
    torch.testing.assert_close(codec.decode_mel(latent), values, atol=1e-2, rtol=1e-3)


def test_spectral_distance_is_zero_for_equal_sounds_and_grows_with_noise():
    sound = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    assert spectral_distance(sound, sound) == 0
    assert 0 < spectral_distance(sound + 0.1 * noise, sound) < spectral_distance(sound + noise, sound)


def test_windows_start_at_frames_and_are_audible():
    sounds = torch.zeros(2, 20_000)
    sounds[1] = torch.arange(20_000) / 20_000
    windows = random_windows(sounds, 5, 3000, torch.Generator().manual_seed(0))
    assert windows.shape == (5, 3000)
    assert all((window[0] * 20_000 % 1000).abs() < 1 and window.max() > 0.02 for window in windows)


def test_scene_sounds_repeat_with_their_seed():
    assert torch.equal(scene_sounds(3, 2, 13), scene_sounds(3, 2, 13))
    assert scene_sounds(3, 2, 13).shape == (2, 13_000)


def test_vocoder_loss_is_the_same_for_the_same_generator_and_reaches_the_vocoder():
    torch.manual_seed(0)
    codec = AudioCodec(SMALL)
    sounds = 0.1 * torch.randn(2, 30_000)
    first, again = (vocoder_loss(codec, sounds, torch.Generator().manual_seed(5))[0] for _ in range(2))
    assert torch.equal(first, again)
    first.backward()
    assert codec.vocoder.head.weight.grad is not None
    assert codec.decoder.layers[0].weight.grad is None, "the decoder is trained on its own"
