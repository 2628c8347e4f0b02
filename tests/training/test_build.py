"""A run's beginning."""

import torch

from happyhorse.recipes.foal import foal_tiny
from happyhorse.training.budget import random_latents, random_text
from happyhorse.training.build import make_state
from happyhorse.training.loop import draw_example, optimise, shape_at

CPU = torch.device("cpu")


def test_starting_weights_follow_from_the_seed_and_are_float32():
    config = foal_tiny()
    states = [make_state(c, torch.device("cpu"), torch.bfloat16) for c in (config, config, config.replace(seed=1))]
    weights = [state.model.adapter.video_embedder.weight for state in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert {parameter.dtype for parameter in states[0].model.parameters()} == {torch.float32}
    assert states[0].model.config.matmul_dtype == "bfloat16"


def test_what_is_recomputed_changes_no_weight():
    found = []
    for mode in ("none", "cheap"):
        config = foal_tiny().replace(recompute=mode)
        state, (shape, batch) = make_state(config, CPU, torch.float32), shape_at(config, 0)
        example = draw_example(random_latents(config, shape, batch, CPU), config, 0)
        optimise(state, example, random_text(config, batch, CPU), config)
        found.append(state.model.state_dict())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
