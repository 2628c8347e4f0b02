"""Scenes drawn twice: both drawings show the same, windows of both and of the sound belong together."""

import json

import pytest
import torch
from safetensors.torch import save_file

from happyhorse.codecs.codec import Codecs
from happyhorse.data.pairs import Pairs, fill_pairs, make_pair
from happyhorse.data.scenes.world import sample_plan
from happyhorse.errors import WeightsError
from happyhorse.sampling.superres import Enlarging
from happyhorse.training.run import find_codecs
from happyhorse.types import ClipShape

SHAPE = ClipShape(0.5, 64, 64)


@pytest.fixture(scope="module")
def codecs() -> Codecs:
    return find_codecs(None, torch.device("cpu"))


def test_the_enlarged_preview_shows_what_the_render_shows(codecs):
    settings = Enlarging(scale=2, source="picture")
    first, other = (
        make_pair(sample_plan(seed, 0.5, family="walker"), SHAPE, settings, codecs, "cpu") for seed in (1, 2)
    )
    assert first.enlarged.shape == first.render.shape == (48, 4, 8, 8) and first.audio.shape == (13, 64)
    near, far = ((pair.enlarged - first.render).square().mean() for pair in (first, other))
    assert near < 0.5 * far


def position_pair(folder, frames=5, side=6):
    """A pair whose values say where they are."""
    place = torch.arange(frames * side * side).view(1, frames, side, side).expand(48, -1, -1, -1).half()
    sound = torch.arange(4 * (frames - 1) + 1)[:, None].expand(-1, 64).half()
    head = {"family": "ball", "attributes": {"colour": "red", "surface": "wood"}}
    tensors = {"enlarged": (place + 1).contiguous(), "render": place.contiguous(), "audio": sound.contiguous()}
    save_file(tensors, str(folder / "pair-00000.safetensors"), {"pair": json.dumps(head)})


def test_windows_of_both_drawings_and_of_the_sound_belong_together(tmp_path):
    position_pair(tmp_path)
    pairs, starts = Pairs(tmp_path, prompt_dropout=0.0), set()
    for seed in range(20):
        batch = pairs.batch(3, 4, 2, torch.Generator().manual_seed(seed))
        assert torch.equal(batch.enlarged, batch.clean.video + 1)
        assert batch.clean.video.shape == (2, 48, 3, 4, 4) and batch.clean.audio.shape == (2, 9, 64)
        first = batch.clean.video[:, 0, 0, 0, 0].long() // 36
        assert torch.equal(batch.clean.audio[:, 0, 0].long(), 4 * first)
        assert torch.equal(batch.begins, first == 0)
        assert all("ball" in prompt for prompt in batch.prompts)
        starts |= set(batch.clean.video[:, 0, 0, 0, 0].long().tolist())
    assert len(starts) > 8


def test_the_same_generator_gives_the_same_windows(tmp_path):
    position_pair(tmp_path)
    pairs = Pairs(tmp_path, prompt_dropout=0.5)
    first, again = (pairs.batch(3, 4, 8, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.enlarged, again.enlarged) and first.prompts == again.prompts
    assert "" in first.prompts


def test_missing_pairs_are_made_and_others_are_refused(tmp_path, codecs):
    settings = Enlarging(scale=2)
    fill_pairs(tmp_path, 2, SHAPE, settings, codecs, seed=3)
    first, second = sorted(tmp_path.iterdir())
    kept = first.read_bytes()
    second.unlink()
    made = []
    fill_pairs(tmp_path, 2, SHAPE, settings, codecs, seed=3, progress=lambda done, total: made.append((done, total)))
    assert first.read_bytes() == kept and made == [(2, 2)]
    with pytest.raises(WeightsError, match="pairs of another kind"):
        fill_pairs(tmp_path, 2, SHAPE, Enlarging(scale=2, source="picture"), codecs, seed=3)
    with pytest.raises(WeightsError, match="holds no pairs"):
        Pairs(tmp_path / "none", 0.0)
    first.write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match="is damaged"):
        fill_pairs(tmp_path, 2, SHAPE, settings, codecs, seed=3)
