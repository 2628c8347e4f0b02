"""Training of super-resolution: the loss asks for the way to the render, and a short run leaves weights that load."""

import pytest
import torch

from happyhorse.codecs.text import Tokenizer
from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.superres import Window, foal_superres, foal_superres_tiny
from happyhorse.training import superres
from happyhorse.training.superres import Loss, draw_known, make_model, train_superres
from happyhorse.types import Latents
from happyhorse.weights.store import load_config, load_module

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("whole"), []
    assert train_superres(foal_superres_tiny(), folder, device="cpu", report=said.append) == 0
    return folder, said


def vector(path):
    model = Transformer(load_config(ModelConfig, path))
    load_module(model, path)
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_a_run_leaves_weights_that_were_trained(whole):
    folder, said = whole
    assert said[-1] == f"done: {folder / 'superres.safetensors'}"
    kept = load_config(ModelConfig, folder / "superres.safetensors")
    assert kept == foal_superres_tiny().model, "weights do not remember the machine that they were trained on"
    before = make_model(foal_superres_tiny(), CPU)
    after = vector(folder / "superres.safetensors")
    assert not torch.allclose(after, torch.cat([v.flatten() for v in before.state_dict().values()]), atol=1e-4)


def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(whole, tmp_path, monkeypatch):
    class Impatient(superres.Stop):
        def reason(self):
            return "time is up" if (tmp_path / "superres").exists() else None

    pairs = whole[0] / "pairs"
    with monkeypatch.context() as patch:
        patch.setattr(superres, "Stop", Impatient)
        assert train_superres(foal_superres_tiny(), tmp_path, device="cpu", report=print, pairs=pairs) == 0
    assert not (tmp_path / "superres.safetensors").exists()
    assert [path.name for path in (tmp_path / "superres").iterdir()] == ["checkpoint-00000001.pt"]
    assert train_superres(foal_superres_tiny(), tmp_path, device="cpu", report=print, pairs=pairs) == 0
    ends = (vector(folder / "superres.safetensors") for folder in (whole[0], tmp_path))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


class Exact(torch.nn.Module):
    """Knows the render: its velocity is (x_t - render) / t, t read off the noised batch by the test."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, latents, text):
        return Latents(self.answer(latents.video), torch.zeros_like(latents.audio))


def test_the_loss_is_zero_for_the_exact_velocity_and_the_mean_square_otherwise(whole, monkeypatch):
    config = foal_superres_tiny().replace(first_frame=1.0)
    pairs = superres.Pairs(whole[0] / "pairs", 0.0)
    seen = {}
    noise, data = superres.path.noisy, superres.path.velocity

    def noisy(clean, start, times):
        seen["velocity"] = data(clean, start)
        return noise(clean, start, times)

    monkeypatch.setattr(superres.path, "noisy", noisy)
    for wrong in (0.0, 0.5):
        model = Exact(lambda video, wrong=wrong: seen["velocity"] + wrong)
        loss = Loss(config, model, pairs, Tokenizer.load(), CPU)
        for seed in range(4):
            value, figures = loss(torch.Generator().manual_seed(seed))
            assert value.item() == pytest.approx(wrong**2, abs=1e-6) and figures["loss"] == value.item()


def test_the_sound_is_always_given_and_the_first_frame_only_where_a_clip_begins(whole):
    pairs = superres.Pairs(whole[0] / "pairs", 0.0)
    batch = pairs.batch(3, 4, 32, torch.Generator().manual_seed(0))
    known = draw_known(batch, 1.0, torch.Generator())
    assert known.audio_mask.all() and torch.equal(known.video_mask[:, 0], batch.begins)
    assert not known.video_mask[:, 1:].any() and 0 < batch.begins.sum() < 32
    assert not draw_known(batch, 0.0, torch.Generator()).video_mask.any()


def test_the_recipe_begins_with_the_base_model_and_looks_at_near_frames():
    config = foal_superres()
    model = make_model(config, CPU)
    assert model.block.layers[0].attention.radius == 1
    assert config.windows == (Window(6, 16, 9), Window(6, 16, 9), Window(2, 32, 7))
    assert model.final_linear_video.weight.abs().max() > 0  # a new model starts at zero
