"""The video codec's promises: exact shapes, latent frames that do not depend on their neighbours, seams hidden."""

import torch

from happyhorse.codecs.video import VideoCodec, VideoCodecConfig, fold_time, unfold_time

SMALL = VideoCodecConfig(encoder_fine=16, encoder_coarse=24, decoder_coarse=24, decoder_middle=16, decoder_fine=16)


def small_codec() -> VideoCodec:
    torch.manual_seed(0)
    codec = VideoCodec(SMALL).eval()
    for parameter in codec.parameters():  # residual branches start at zero; make them matter
        torch.nn.init.normal_(parameter, std=0.05)
    return codec


def test_fold_time_is_undone_by_unfold_time():
    frames = torch.randn(2, 3, 9, 4, 6)
    assert torch.equal(unfold_time(fold_time(frames), 2), frames)


def test_first_group_is_the_first_frame_repeated():
    frames = torch.randn(1, 3, 5, 4, 4)
    first_group = fold_time(frames)[0].unflatten(0, (3, 4))
    assert all(torch.equal(first_group[:, i], frames[0, :, 0]) for i in range(4))


@torch.no_grad()
def test_shapes_follow_the_stride():
    codec = small_codec()
    latent = codec.encode(torch.rand(2, 3, 9, 64, 96) * 2 - 1)
    assert latent.shape == (2, 48, 3, 4, 6)
    assert codec.decode(latent).shape == (2, 3, 9, 64, 96)


@torch.no_grad()
def test_an_image_alone_is_the_first_latent_frame_of_its_clip():
    codec = small_codec()
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    alone, clip = codec.encode(frames[:, :, :1]), codec.encode(frames)
    torch.testing.assert_close(alone, clip[:, :, :1])


@torch.no_grad()
def test_a_latent_frame_depends_on_its_own_four_frames_only():
    codec = small_codec()
    frames = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    changed = frames.clone()
    changed[:, :, 5:] = 0
    before, after = codec.encode(frames), codec.encode(changed)
    torch.testing.assert_close(before[:, :, :2], after[:, :, :2])
    assert not torch.allclose(before[:, :, 2], after[:, :, 2])


@torch.no_grad()
def test_the_decoder_looks_across_cells_and_latent_frames():
    codec = small_codec()
    latent = torch.randn(1, 48, 3, 4, 4)
    changed = latent.clone()
    changed[:, :, 1, 1, 1] += 1
    difference = (codec.reconstruct(latent) - codec.reconstruct(changed)).abs().amax(dim=(0, 1))
    assert difference[0].max() > 0, "the neighbouring latent frame must be mixed in"
    assert difference[4, 16:32, 33].max() > 0, "the neighbouring cell must be mixed in"


@torch.no_grad()
def test_batch_equals_single_samples():
    codec = small_codec()
    frames = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    latent = codec.encode(frames)
    torch.testing.assert_close(latent[1:], codec.encode(frames[1:]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(codec.decode(latent)[:1], codec.decode(latent[:1]), atol=1e-5, rtol=1e-4)
