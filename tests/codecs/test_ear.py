"""The recogniser without weights: its shapes, its spelling, and what it does not listen to."""

from __future__ import annotations

import pytest
import torch

from happyhorse.codecs import mel
from happyhorse.codecs.ear import BLANK, RANGE, Ear, EarConfig, relative, spelled


@pytest.fixture(scope="module")
def ear() -> Ear:
    torch.manual_seed(0)
    return Ear(EarConfig(" abc", width=16, blocks=1)).eval()


def test_repetitions_are_one_letter_unless_a_blank_parts_them(ear: Ear):
    a, b, space = ear.targets("ab ")
    assert ear.spell([BLANK, a, a, BLANK, a, b, b, BLANK]) == "aab"
    assert ear.spell([space, a, space, BLANK, space, b, space]) == "a b"
    assert ear.spell([BLANK] * 5) == ""


def test_a_text_is_spelled_as_it_was_written(ear: Ear):
    assert ear.spell(ear.targets("abc cab")) == "abc cab"
    assert spelled("Groß Ｂall") == "gross ball"


def test_scores_are_log_probabilities_48_times_a_second(ear: Ear):
    scores = ear(mel.log_mel(torch.randn(2, mel.SAMPLE_RATE) * 0.1))
    assert scores.shape == (2, 48, 5)
    torch.testing.assert_close(scores.exp().sum(dim=2), torch.ones(2, 48))


def test_loudness_says_nothing():
    quiet = mel.log_mel(torch.randn(1, 12_000, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(relative(quiet), relative(quiet + 1.5))
    assert relative(quiet).max() == 1
    assert relative(torch.tensor([[[0.0, -RANGE, -2 * RANGE]]])).tolist() == [[[1.0, 0.0, 0.0]]]


def test_what_is_too_short_says_nothing(ear: Ear):
    assert ear.transcribe(torch.zeros(0)) == ""
    assert ear.transcribe(torch.zeros(900)) == ""
    assert isinstance(ear.transcribe(torch.randn(24_100)), str)
