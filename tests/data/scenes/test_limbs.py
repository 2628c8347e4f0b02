import pytest
import torch

from happyhorse.data.scenes.limbs import foot_path, ground_speed, joint


def test_a_foot_touches_down_on_whole_phases():
    phase = torch.tensor([-0.02, 0.0, 0.02, 0.98, 1.0])
    ahead, height = foot_path(phase, 0.4, 0.25, 0.2)
    assert (height > 0).tolist() == [True, False, False, True, False]
    assert ahead[1] == pytest.approx(0.25)


def test_a_standing_foot_moves_with_the_ground():
    stride = 0.5
    time = torch.linspace(0, 0.4 * stride * 0.99, 20)
    ahead, height = foot_path(time / stride, 0.4, 0.25, 0.2)
    over_ground = ahead + ground_speed(0.4, 0.25, stride) * time
    assert torch.allclose(over_ground, over_ground[:1].expand(20), atol=1e-5), "no sliding"
    assert height.abs().max() < 1e-6


def test_a_foot_never_jumps():
    phase = torch.linspace(0, 2, 2001)
    ahead, height = foot_path(phase, 0.58, 0.22, 0.09)
    assert ahead.diff().abs().max() < 0.005
    assert height.diff().abs().max() < 0.005


def test_the_knee_keeps_both_bones_at_their_length():
    hip = (torch.tensor([0.0, 0.1]), torch.tensor([0.0, 0.0]))
    foot = (torch.tensor([0.2, -0.1]), torch.tensor([0.5, 0.4]))
    forward, back = (joint(hip, foot, 0.3, 0.32, bend) for bend in (1.0, -1.0))
    for knee in (forward, back):
        assert torch.allclose(torch.hypot(knee[0] - hip[0], knee[1] - hip[1]), torch.tensor(0.3), atol=1e-5)
        assert torch.allclose(torch.hypot(knee[0] - foot[0], knee[1] - foot[1]), torch.tensor(0.32), atol=1e-5)
    assert (forward[0] > back[0]).all()
