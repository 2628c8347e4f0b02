"""Which parts of a sample are given, and how often."""

import pytest
import torch

from happyhorse.recipes.recipe import KnownShares
from happyhorse.training.masks import draw_known, sound_after
from happyhorse.types import Latents

NOTHING = dict.fromkeys(KnownShares().to_dict(), 0.0)


def drawn(shares, count=4000, frames=6):
    clean = Latents(torch.zeros(count, 1, frames, 1, 1), torch.zeros(count, 4 * (frames - 1) + 1, 1))
    return draw_known(clean, shares, torch.Generator().manual_seed(0))


def only(**share):
    return drawn(KnownShares(**{**NOTHING, **share}), count=200)


def test_first_frame():
    known = only(first_frame=1.0)
    assert known.video_mask[:, 0].all() and not known.video_mask[:, 1:].any() and not known.audio_mask.any()


def test_last_frame_with_and_without_the_first():
    known = only(last_frame=1.0)
    assert known.video_mask[:, -1].all() and not known.video_mask[:, 1:-1].any() and not known.audio_mask.any()
    assert 0.3 < known.video_mask[:, 0].float().mean() < 0.7


def test_one_modality_given():
    sound, picture = only(audio=1.0), only(video=1.0)
    assert sound.audio_mask.all() and not sound.video_mask.any()
    assert picture.video_mask.all() and not picture.audio_mask.any()


def test_prefix_covers_the_same_time_in_both_streams_and_leaves_half_to_do():
    known = only(prefix=1.0)
    frames, sounds = known.video_mask.sum(1), known.audio_mask.sum(1)
    assert torch.equal(sounds, 4 * (frames - 1) + 1)
    assert frames.min() == 1 and frames.max() == 3
    assert known.video_mask[:, 0].all() and (known.video_mask.int().diff(dim=1) <= 0).all()


def test_default_shares():
    known = drawn(KnownShares(), count=20_000)
    shares = KnownShares()
    anything = known.video_mask.any(1) | known.audio_mask.any(1)
    assert anything.float().mean().item() == pytest.approx(sum(shares.to_dict().values()), abs=0.01)
    assert known.audio_mask.all(1).float().mean().item() == pytest.approx(shares.audio, abs=0.01)
    assert known.video_mask.all(1).float().mean().item() == pytest.approx(shares.video, abs=0.01)


def test_sound_after_the_picture_is_hidden_until_the_picture_is_finished():
    known = drawn(KnownShares(**{**NOTHING, "video": 0.5, "first_frame": 0.2}), count=400)
    noise = known.latents.map(torch.ones_like)
    after = sound_after(known, noise)
    finished = known.video_mask.all(1)
    assert 100 < finished.sum() < 300 and torch.equal(after.video_mask, known.video_mask)
    assert not after.audio_mask[finished].any(), "the sound of a finished picture is to be made"
    assert after.audio_mask[~finished].all(), "any other sound is not"
    pasted = after.paste(known.latents.map(lambda x: x + 7))
    assert (pasted.audio[~finished] == 1).all() and (pasted.audio[finished] == 7).all()
