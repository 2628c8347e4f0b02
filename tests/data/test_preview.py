from pathlib import Path

import numpy as np
import torch

from happyhorse.codecs.media import read_image, read_mp4
from happyhorse.data.preview import contact_sheet, describe_world, draw_wave, strip, write_preview
from happyhorse.data.scenes.world import FAMILIES, sample_plan


def test_a_preview_is_a_sheet_clips_and_an_index(tmp_path: Path):
    written = write_preview(tmp_path, 1, 3, 64, 64, 0.5)
    assert all(path.is_file() for path in written)
    clip = read_mp4(tmp_path / "ball-3.mp4")
    assert clip.frames.shape == (12, 64, 64, 3)
    assert clip.audio.shape[1] == 12_000
    lines = (tmp_path / "index.txt").read_text("utf-8").splitlines()
    assert len(lines) == len(FAMILIES)
    assert all(name in line for name, line in zip(FAMILIES, lines, strict=True))
    assert read_image(tmp_path / "sheet.png").shape[1] == 6 * 64


def test_a_contact_sheet_has_a_strip_for_each_plan():
    plans = [sample_plan(seed, 1.0, family="ball") for seed in range(2)]
    sheet = contact_sheet(plans, 64, 64)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (64 + 32) + 6, 6 * 64, 3)


def test_the_strip_marks_events_in_red():
    plan = sample_plan(0, 2.0, family="ball")
    frames = np.zeros((48, 64, 64, 3), np.uint8)
    image = strip(frames, torch.zeros(48_000), plan)
    red = (image[64, :, 0] > 180) & (image[64, :, 1] < 90)
    assert red.sum() == len(plan.truth.events)
    assert abs(np.flatnonzero(red)[0] - plan.truth.events[0] / 2 * 384) <= 1


def test_a_louder_wave_is_drawn_taller():
    inked = [(draw_wave(level * torch.sin(torch.arange(9600) / 5), 96, 32) < 128).sum() for level in (0.1, 0.5, 0.9)]
    assert inked[0] < inked[1] < inked[2]


def test_the_world_is_described_in_words():
    text = describe_world()
    for name, family in FAMILIES.items():
        assert name in text
        for key in family.attributes:
            assert f"  {key}: " in text
    assert "for example: " in text
