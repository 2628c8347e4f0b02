"""A run's beginning."""

import torch

from happyhorse.recipes.foal import foal_tiny
from happyhorse.training.build import make_state


def test_starting_weights_follow_from_the_seed_and_are_float32():
    config = foal_tiny()
    states = [make_state(c, torch.device("cpu"), torch.bfloat16) for c in (config, config, config.replace(seed=1))]
    weights = [state.model.adapter.video_embedder.weight for state in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert {parameter.dtype for parameter in states[0].model.parameters()} == {torch.float32}
    assert states[0].model.config.matmul_dtype == "bfloat16"
