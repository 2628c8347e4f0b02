import math

import pytest
import torch

from happyhorse.model.positions import (
    angles,
    audio_coordinates,
    frequencies,
    rotate,
    text_coordinates,
    video_coordinates,
)


def coordinates(style: str, grid: tuple[int, int, int], audio: int, text: int) -> torch.Tensor:
    words = text_coordinates(style, torch.tensor([text]), text)[0]
    return torch.cat([video_coordinates(grid), audio_coordinates(style, audio, 1, grid[0]), words])


@pytest.mark.parametrize("name", ["rope_v2_small", "rope_v1_small", "rope_v2_256p_5s", "rope_v1_1080p_5s"])
def test_published_coordinates_and_angles(golden, name):
    case = golden(name)
    frames, height, width = case.settings["latent_thw"]
    style, audio, text = (case.settings[key] for key in ("coords_style", "n_audio", "n_text"))
    ours = coordinates(style, (frames, height // 2, width // 2), audio, text)
    assert len(ours) == case.settings["total_tokens"]
    ours = ours[case["row_index"]] if case.holds("row_index") else ours
    assert torch.equal(ours, case["coords"])
    bands = frequencies(case.settings["head_dim"] // 8)
    assert case.error("bands", bands) < 1e-6
    angle = angles(ours, case["bands"])
    assert case.error("rope", torch.cat([angle.sin(), angle.cos()], dim=-1)) < 1e-5
    if case.holds("q_rotated"):
        rotated = rotate(case["q"], angle.cos()[:, None], angle.sin()[:, None])
        assert case.error("q_rotated", rotated) < 1e-5


def test_foal_sound_and_picture_share_one_clock():
    audio = angles(audio_coordinates("foal", 121, 1, 31), frequencies(4))
    video = angles(video_coordinates((31, 1, 1)), frequencies(4))
    assert torch.allclose(audio[::4], video, atol=1e-5)
    assert torch.allclose(audio[1, 0], torch.tensor(0.25))


def test_foal_keeps_the_audio_clock_exact_at_any_length():
    times = angles(audio_coordinates("foal", 126, 1, 32), frequencies(4))[:, 0]
    assert torch.allclose(times, torch.arange(126) / 4)


def test_audio_patches_of_four_cover_the_pixel_frames_of_a_latent_frame():
    times = angles(audio_coordinates("foal", 13, 4, 4), frequencies(4))[:, 0]
    # Pixel frames 4k-3 .. 4k have their mean at k - 0.375 in latent frames.
    assert torch.allclose(times, torch.arange(4) - 0.375, atol=1e-6)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_foal_text_ends_just_before_the_clip_whatever_its_padding(length):
    times = angles(text_coordinates("foal", torch.tensor([length]), 9), frequencies(4))[0, :length, 0]
    assert torch.allclose(times, torch.arange(-length, 0).float())


def test_a_prompt_of_one_token_has_a_place_in_every_style():
    for style, time in (("foal", -1.0), ("v2", -1.0), ("v1", 0.0)):
        angle = angles(text_coordinates(style, torch.tensor([1]), 1), frequencies(4))
        assert angle[0, 0, 0] == time


def test_v2_text_does_not_know_its_order_and_foal_text_does():
    lengths = torch.tensor([5])
    assert (angles(text_coordinates("v2", lengths, 5), frequencies(4)) == 0).all()
    assert angles(text_coordinates("foal", lengths, 5), frequencies(4))[0, :, 0].unique().numel() == 5


def test_frequencies_span_the_base_from_the_top_down():
    assert torch.allclose(frequencies(4, top=math.pi, base=81.0), math.pi / 3.0 ** torch.arange(4))
    assert torch.allclose(frequencies(2), torch.tensor([1.0, 0.01]))


def test_products_of_rotated_rows_depend_on_distance_only():
    q, k = torch.randn(2, 1, 1, 1, 32, dtype=torch.float64)

    def product(first: float, second: float) -> torch.Tensor:
        turned = []
        for x, time in ((q, first), (k, second)):
            row = torch.tensor([[time, 0, 0, 8, 1, 1, 8, 1, 1]])
            angle = angles(row, frequencies(4)).double()[None, :, None]
            turned.append(rotate(x, angle.cos(), angle.sin()))
        return (turned[0] * turned[1]).sum()

    assert torch.allclose(product(5, 2), product(3, 0), atol=1e-6)
    assert not torch.allclose(product(5, 2), product(5, 1), atol=1e-3)
