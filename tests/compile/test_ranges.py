import pytest
import torch

from happyhorse.compile.ranges import Part, all_keys, attend_parts, dense_mask, density, near_frames

CPU = torch.device("cpu")


@pytest.mark.parametrize("radius", [0, 1, 5])
def test_windows_are_those_of_the_definition(radius):
    frames, per_frame, others, text = 4, 3, 2, 5
    video, rows = frames * per_frame, frames * per_frame + others
    keys = rows + text
    frame = torch.arange(video) // per_frame
    expected = torch.ones(rows, keys, dtype=torch.bool)
    expected[:video, :video] = (frame[:, None] - frame).abs() <= radius
    parts = near_frames(rows, keys, frames, video, radius)
    assert torch.equal(dense_mask(parts, CPU), expected)
    assert density(parts) == pytest.approx(expected.float().mean().item())


def test_parts_partition_the_queries():
    for rows, keys, video in ((14, 20, 12), (12, 17, 12)):
        parts = near_frames(rows, keys, 4, video, 1)
        assert [part.queries[0] for part in parts] == [0, *(part.queries[1] for part in parts[:-1])]
        assert parts[-1].queries[1] == rows
    assert all_keys(3, 4) == (Part((0, 3), ((0, 4),)),)


def test_every_part_gets_its_keys_and_its_mask():
    keys = torch.arange(8.0).view(1, 8, 1, 1)
    mask = (torch.arange(8) != 5)[None, None, None]

    def total(q, k, v, mask):
        return q * 0 + (v * mask[..., 0, 0, :, None, None]).sum()

    parts = near_frames(6, 8, 2, 4, 0)
    made = attend_parts(total, parts, torch.ones(1, 6, 1, 1), keys, keys, mask)
    outside = 4 + 6 + 7
    assert made.flatten().tolist() == [0 + 1 + outside] * 2 + [2 + 3 + outside] * 2 + [6 + outside] * 2
