"""The sound codec's promises: one latent per frame, exact lengths, a linear part that is its own inverse."""

import torch

from happyhorse.codecs import mel
from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig, stack_columns, unstack_columns

SMALL = AudioCodecConfig(decoder_width=16, vocoder_width=16, vocoder_blocks=1)


def noise(frames: int) -> torch.Tensor:
    return 0.1 * torch.randn(4, frames * 1000, generator=torch.Generator().manual_seed(3))


def test_stacked_columns_come_back():
    spectrum = torch.randn(2, mel.MELS, 24)
    assert stack_columns(spectrum).shape == (2, 6, 320)
    assert torch.equal(unstack_columns(stack_columns(spectrum)), spectrum)


@torch.no_grad()
def test_one_latent_a_frame_and_exact_lengths():
    codec = AudioCodec(SMALL)
    latent = codec.encode(noise(7))
    assert latent.shape == (4, 7, 64)
    assert codec.decode(latent).shape == (4, 7000)


@torch.no_grad()
def test_a_latent_is_heard_in_its_own_frame():
    codec = AudioCodec(SMALL)
    waveform = torch.zeros(1, 9000)
    waveform[0, 4500] = 1.0
    loud = codec.encode(waveform) - codec.encode(torch.zeros(1, 9000))
    assert int(loud.square().sum(dim=2)[0].argmax()) == 4
