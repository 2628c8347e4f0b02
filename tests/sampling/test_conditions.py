import numpy as np
import pytest
import torch

from happyhorse.sampling.conditions import nothing, picture, pixels, with_audio, with_image, with_video
from happyhorse.types import Latents


@pytest.fixture
def noise():
    torch.manual_seed(0)
    return Latents(torch.randn(1, 48, 5, 2, 3), torch.randn(1, 17, 64))


class Mean:
    """A codec whose latent is the mean colour of each cell, so that a test can see where a picture went."""

    def encode(self, frames):
        cells = torch.nn.functional.avg_pool3d(frames, (1, 16, 16))
        return cells.repeat(1, 16, 1, 1, 1)

    def decode(self, latent):
        raise NotImplementedError


def test_nothing_known_changes_nothing(noise):
    pasted = nothing(noise).paste(noise)
    assert torch.equal(pasted.video, noise.video)
    assert torch.equal(pasted.audio, noise.audio)


def test_parts_add_up_and_count_from_either_end(noise):
    first, last, sound = (
        torch.full((1, 48, 1, 2, 3), 5.0),
        torch.full((1, 48, 2, 2, 3), 6.0),
        torch.full((1, 4, 64), 7.0),
    )
    known = with_audio(with_video(with_video(nothing(noise), first), last, start=-2), sound, start=3)
    assert known.video_mask.tolist() == [[True, False, False, True, True]]
    assert known.audio_mask.nonzero()[:, 1].tolist() == [3, 4, 5, 6]
    pasted = known.paste(noise)
    assert (pasted.video[:, :, 0] == 5).all()
    assert (pasted.video[:, :, 3:] == 6).all()
    assert torch.equal(pasted.video[:, :, 1:3], noise.video[:, :, 1:3])
    assert (pasted.audio[:, 3:7] == 7).all()
    assert torch.equal(pasted.audio[:, 7:], noise.audio[:, 7:])


def test_an_image_becomes_the_first_latent_frame(noise):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, 48:] = 255  # right half white
    known = with_image(nothing(noise), image, Mean())
    assert known.video_mask.tolist() == [[True, False, False, False, False]]
    assert not known.audio_mask.any()
    left, right = known.latents.video[0, :, 0, :, 0], known.latents.video[0, :, 0, :, 2]
    assert left.max() < -0.9
    assert right.min() > 0.9


def test_frames_survive_the_way_to_the_codec_and_back():
    frames = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    there = picture(frames)
    assert there.shape == (1, 3, 2, 4, 4)
    assert there.min() >= -1
    assert there.max() <= 1
    assert np.array_equal(pixels(there), frames)
