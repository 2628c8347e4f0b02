"""SyncNet as published: names of its weights, shapes, and scores whose values are known."""

import numpy as np
import pytest
import torch

from happyhorse.errors import MissingToolError, WeightsError
from happyhorse.evaluation import syncnet
from happyhorse.evaluation.syncnet import SyncNet, SyncNetJudge, cepstra, faces, lip_sync_error, load_syncnet


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return SyncNet(width=32).eval()


def test_weights_have_the_names_and_shapes_of_the_published_ones():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in SyncNet().state_dict().items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)


@torch.inference_mode()
def test_many_windows_at_once_are_what_each_is_alone(model):
    frames = 255 * torch.rand(1, 3, 7, 224, 224)
    together = model.lips(frames)
    alone = torch.cat([model.lips(frames[:, :, at : at + 5]) for at in range(3)])
    assert together.shape == (3, 32)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert model.sound(torch.randn(2, 1, 13, 20)).shape == (2, 32)


@pytest.mark.parametrize("late", [-4, 0, 7])
def test_the_shift_at_which_both_agree_is_found(late):
    generator = torch.Generator().manual_seed(1)
    lips = torch.randn(80, 16, generator=generator)
    found = lip_sync_error(lips, torch.roll(lips, late, dims=0))
    assert found.late == late and found.distance == pytest.approx(0, abs=1e-5)
    # The distance of independent unit normals in 16 dimensions is that of a chi distribution, times sqrt 2.
    assert found.confidence == pytest.approx(2**0.5 * 3.94, rel=0.1)


def test_noise_has_little_confidence():
    generator = torch.Generator().manual_seed(2)
    found = lip_sync_error(*(torch.randn(80, 16, generator=generator) for _ in range(2)))
    assert 0 < found.confidence < 0.6


def test_faces_are_25_a_second_blue_first():
    frames = np.zeros((48, 60, 80, 3), np.uint8)
    frames[..., 0] = 200  # red
    found = faces(frames)
    assert found.shape == (1, 3, 50, 224, 224)
    assert found[0, 2].mean() == 200 and found[0, 0].mean() == 0


def test_cepstra_are_a_hundred_columns_a_second():
    pytest.importorskip("python_speech_features")
    time = np.arange(48_000) / 24_000
    found = cepstra(0.1 * np.sin(2 * np.pi * 300 * time))
    assert found.shape[:2] == (1, 13) and abs(found.shape[2] - 200) <= 1
    # The first coefficient is the log of a window's energy: ten times the level is 2 ln 10 more.
    louder = cepstra(np.sin(2 * np.pi * 300 * time))
    assert (louder - found)[0, 0, 50:150].mean() == pytest.approx(2 * np.log(10), abs=0.01)


def test_a_judge_says_three_numbers_and_nothing_of_short_clips(model, monkeypatch, tmp_path):
    pytest.importorskip("python_speech_features")
    (tmp_path / "weights").write_bytes(b"any")
    monkeypatch.setattr(syncnet, "load_syncnet", lambda path: model)
    judge = SyncNetJudge(tmp_path / "weights")
    rng = np.random.default_rng(0)
    frames, sound = rng.integers(0, 255, (40, 32, 32, 3)).astype(np.uint8), rng.normal(0, 0.1, 40_000)
    assert [one.metric for one in judge(frames, sound)] == [
        "SyncNet LSE-D",
        "SyncNet LSE-C",
        "SyncNet: voice within a frame",
    ]
    assert judge(frames[:20], sound[:20_000]) == []


def test_wrong_weights_are_told(tmp_path):
    with pytest.raises(WeightsError, match="not found"):
        load_syncnet(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="does not hold SyncNet's weights"):
        load_syncnet(tmp_path / "bad")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(WeightsError, match="does not hold SyncNet's weights"):
        load_syncnet(tmp_path / "other")


def test_the_library_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(syncnet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingToolError, match="pip install python_speech_features"):
        SyncNetJudge(tmp_path / "any")
