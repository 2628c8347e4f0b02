import pytest
import torch

from happyhorse.config import foal
from happyhorse.model.attention import frame_windows
from happyhorse.model.positions import frequencies
from happyhorse.model.sequence import (
    joint_layout,
    media_layout,
    pack_audio,
    pack_video,
    unpack_audio,
    unpack_video,
)
from happyhorse.types import Latents, Text

PACKS = ["pack_v2", "pack_v1_window2"]


@pytest.mark.parametrize("name", PACKS)
def test_published_packing(golden, name):
    case = golden(name)
    audio, text = case.settings["audio_feat_len"], case.settings["txt_feat_len"]
    tokens = [pack_video(case["x_t"]), pack_audio(case["audio_x_t"][:, :audio], 1), case["txt_feat"][:, :text]]
    widest = max(part.shape[-1] for part in tokens)
    padded = [torch.nn.functional.pad(part, (0, widest - part.shape[-1])) for part in tokens]
    assert case.error("token_sequence", torch.cat(padded, dim=1)[0]) == 0


@pytest.mark.parametrize("name", PACKS)
def test_published_unpacking(golden, name):
    case = golden(name)
    frames, height, width = case.settings["latent_thw"]
    grid = (frames, height // 2, width // 2)
    n_video, n_audio = frames * height * width // 4, case.settings["audio_feat_len"]
    output = case["model_output_tokens"][None]
    assert case.error("unpacked_video", unpack_video(output[:, :n_video], grid)) == 0
    audio = unpack_audio(output[:, n_video : n_video + n_audio, :64], n_audio, 1)
    assert case.error("unpacked_audio", audio) == 0


@pytest.mark.parametrize("name", PACKS)
def test_published_frame_windows(golden, name):
    case = golden(name)
    frames, height, width = case.settings["latent_thw"]
    per_frame = height * width // 4
    theirs = set()
    for (start, stop), (low, high) in zip(case["q_ranges"][:frames], case["k_ranges"][:frames], strict=True):
        theirs |= {(row, low.item(), high.item()) for row in range(start, stop)}
    ours = set()
    for start, stop, low, high in frame_windows(frames, case.settings["frame_receptive_field"]):
        rows = range(start * per_frame, stop * per_frame)
        ours |= {(row, low * per_frame, high * per_frame) for row in rows}
    assert ours == theirs


@pytest.mark.parametrize("patch", [1, 2, 3, 4])
def test_audio_patches_come_back(patch):
    latent = torch.randn(2, 13, 5)
    tokens = pack_audio(latent, patch)
    assert tokens.shape == (2, -(-13 // patch), 5 * patch)
    assert torch.equal(unpack_audio(tokens, 13, patch), latent)


def test_audio_is_filled_up_before_the_first_latent():
    tokens = pack_audio(torch.ones(1, 13, 1), 4)
    assert tokens[0, 0].tolist() == [0, 0, 0, 1]
    assert (tokens[0, 1:] == 1).all()


def test_rows_are_ordered_by_frame_then_row_then_column():
    frames, height, width = 2, 2, 3
    cells = torch.arange(frames * height * width).reshape(1, 1, frames, height, 1, width, 1)
    latent = cells.expand(1, 1, frames, height, 2, width, 2).reshape(1, 1, frames, 2 * height, 2 * width)
    assert pack_video(latent)[0, :, 0].tolist() == list(range(12))


def latents(batch: int) -> Latents:
    return Latents(torch.randn(batch, 48, 2, 4, 4), torch.randn(batch, 5, 64))


def test_layout_needs_a_mask_only_if_prompts_differ_in_length():
    values, bands = torch.zeros(2, 3, dtype=torch.int64), frequencies(4)
    equal = media_layout(foal(), bands, latents(2), Text(values, torch.tensor([3, 3])))
    assert equal.key_mask is None
    padded = media_layout(foal(), bands, latents(2), Text(values, torch.tensor([3, 1])))
    assert padded.key_mask is not None
    assert padded.key_mask.flatten(1).sum(1).tolist() == [13 + 3, 13 + 1]
    assert not padded.key_mask[1, ..., -2:].any()


def test_joint_layout_covers_all_rows_once():
    config = foal(text="features", text_channels=8, coordinates="v2")
    text = Text(torch.zeros(2, 3, 8), torch.tensor([3, 2]))
    layout = joint_layout(config, frequencies(4), latents(2), text)
    assert layout.spans == ((0, 8), (1, 5), (2, 3))
    assert layout.cos.shape == (2, 16, 1, 12)
    assert layout.video_rows == 8
