"""The moving average of the weights."""

import pytest
import torch

from happyhorse.training.ema import Average


def model_with(value):
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(model.weight, value)
    return model


def test_average_follows_its_recursion_with_a_warmed_up_decay():
    model = model_with(0.0)
    average, expected = Average(model, decay=0.9), 0.0
    for n in range(1, 200):
        torch.nn.init.constant_(model.weight, float(n))
        average.update()
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    assert average.values[0].item() == pytest.approx(expected, rel=1e-5)


def test_applied_swaps_the_average_in_and_the_weights_back():
    model = model_with(0.0)
    average = Average(model, decay=0.5)
    torch.nn.init.constant_(model.weight, 1.0)
    average.update()
    averaged = average.values[0].item()
    assert 0 < averaged < 1
    with pytest.raises(RuntimeError), average.applied():
        assert model.weight.item() == pytest.approx(averaged)
        raise RuntimeError("even then")
    assert model.weight.item() == 1.0


def test_half_precision_weights_are_averaged_in_float32():
    model = model_with(1.0).bfloat16()
    average = Average(model, decay=0.9999)
    for _ in range(100):
        average.update()
    torch.nn.init.constant_(model.weight, 1.0078125)
    average.update()
    assert average.values[0].dtype == torch.float32
    assert 1.0 < average.values[0].item() < 1.0078125
