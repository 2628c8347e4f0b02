"""Loss by modality and noise level."""

import json
import math

import pytest
import torch

from happyhorse.training.losses import Example
from happyhorse.training.meters import Meters, append_record
from happyhorse.types import Latents


def step(times, audio_unknown=(1.0, 1.0)):
    noisy = Latents(torch.zeros(2, 48, 3, 2, 4), torch.zeros(2, 9, 64))
    unknown = Latents(torch.ones(2, 1, 3, 1, 1), torch.tensor(audio_unknown)[:, None, None].expand(2, 9, 1))
    return Example(noisy, noisy, unknown, Latents(torch.tensor(times), torch.tensor(times)))


def test_losses_go_to_the_bucket_of_their_noise_level():
    meters = Meters()
    losses = Latents(torch.tensor([1.0, 3.0]), torch.tensor([5.0, 7.0]))
    meters.add(step([0.1, 1.0]), losses, torch.tensor(8.0), torch.tensor(0.5))
    meters.add(step([0.1, 0.6]), losses.map(lambda x: 2 * x), torch.tensor(16.0), torch.tensor(1.5))
    figures = meters.read()
    assert figures["loss"] == 12 and figures["gradient_norm"] == 1
    assert figures["video_0"] == 1.5 and figures["video_2"] == 6 and figures["video_3"] == 3
    assert math.isnan(figures["video_1"])
    assert figures["audio"] == pytest.approx((5 + 7 + 10 + 14) / 4)


def test_a_given_modality_does_not_count():
    meters = Meters()
    losses = Latents(torch.tensor([1.0, 3.0]), torch.tensor([4.0, 0.0]))
    meters.add(step([0.6, 0.6], audio_unknown=(1.0, 0.0)), losses, torch.tensor(1.0), torch.tensor(1.0))
    figures = meters.read()
    assert figures["audio_2"] == 4 and figures["video_2"] == 2


def test_reading_starts_anew_and_counts_media_tokens():
    meters = Meters()
    ones = Latents(torch.ones(2), torch.ones(2))
    meters.add(step([0.1, 0.1]), ones, torch.tensor(2.0), torch.tensor(1.0))
    figures = meters.read()
    tokens = 3 * 1 * 2 + 9
    assert figures["tokens_per_second"] / figures["samples_per_second"] == pytest.approx(tokens)
    meters.add(step([0.1, 0.1]), ones.map(lambda x: 5 * x), torch.tensor(10.0), torch.tensor(1.0))
    assert meters.read()["video"] == 5


def test_records_are_valid_json_even_with_empty_buckets(tmp_path):
    append_record(tmp_path / "log.jsonl", {"step": 3, "video_0": math.nan, "loss": 1.5})
    append_record(tmp_path / "log.jsonl", {"step": 6, "video_0": 2.0, "loss": 1.0})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == [{"step": 3, "video_0": None, "loss": 1.5}, {"step": 6, "video_0": 2.0, "loss": 1.0}]
