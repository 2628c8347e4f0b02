"""Muon's update, the split of parameters, the schedule, the clip."""

import copy
import math

import pytest
import torch

from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.recipe import OptimizerConfig
from happyhorse.training.optimizer import Matrix, Muon, Optimizers, block_matrices, orthogonalise, schedule


def singular_values(matrix):
    return torch.linalg.svdvals(matrix.double())


@pytest.mark.parametrize("shape", [(24, 48), (16, 64), (80, 20)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = singular_values(orthogonalise(torch.randn(3, *shape), 5))
    assert values.min() > 0.3 and values.max() < 1.3


def test_orthogonalisation_keeps_singular_vectors():
    torch.manual_seed(0)
    matrix = torch.randn(12, 20, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalise(matrix[None], 5)[0] @ vh.T
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-9
    assert inner.diagonal().min() > 0


def test_orthogonalisation_of_a_batch_is_that_of_each():
    torch.manual_seed(0)
    batch = torch.randn(4, 10, 30)
    torch.testing.assert_close(orthogonalise(batch, 5), torch.cat([orthogonalise(one, 5) for one in batch.split(1)]))


def test_stacked_experts_are_orthogonalised_one_by_one():
    """A large gradient of one modality must not drown the update of another."""
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(30, 12))
    parameter.grad = torch.randn(30, 12) * torch.tensor([1.0, 100.0, 1e-3]).repeat_interleave(10)[:, None]
    Muon([Matrix(parameter, 3)], OptimizerConfig(kind="muon", learning_rate=1.0, weight_decay=0)).step()
    for expert in parameter.detach().split(10):
        values = singular_values(expert) / (0.2 * math.sqrt(12))
        assert values.min() > 0.3 and values.max() < 1.3


def test_muon_update_has_the_size_of_an_adamw_update():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(64, 192))
    parameter.grad = torch.randn(64, 192)
    Muon([Matrix(parameter, 1)], OptimizerConfig(kind="muon", learning_rate=1e-2, weight_decay=0)).step()
    # AdamW's first updates have entries of about the rate; orthogonal rows give sqrt(64 / (64 * 192)) * 0.2 * sqrt(192)
    assert parameter.detach().square().mean().sqrt().item() == pytest.approx(0.2e-2, rel=0.15)


def small_model():
    torch.manual_seed(0)
    return Transformer(ModelConfig(hidden=32, head_dim=16, query_heads=2, kv_heads=1, shared=2, text_vocab=16))


def test_block_matrices_know_their_experts():
    model = small_model()
    experts = {name: p for name, p in model.named_parameters() if p.ndim == 2 and name.startswith("block.")}
    found = {id(m.parameter): m for m in block_matrices(model)}
    assert len(found) == len(experts) == 4 * 4
    for name, parameter in experts.items():
        layer = int(name.split(".")[2])
        assert found[id(parameter)].experts == (3 if layer in (0, 3) else 1)
        assert found[id(parameter)].shape[0] * found[id(parameter)].experts == parameter.shape[0]


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_every_parameter_is_moved_once(kind):
    model = small_model()
    optimizers = Optimizers(model, OptimizerConfig(kind=kind))
    owned = [id(p) for part in optimizers.parts for group in part.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_survives_storage(kind):
    config = OptimizerConfig(kind=kind, warmup=0.0)
    models = [small_model(), small_model()]
    first, second = (Optimizers(model, config) for model in models)

    def push(model, seed):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)

    push(models[0], 1)
    first.step(0.1)
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for model, optimizer in zip(models, (first, second), strict=True):
        push(model, 2)
        optimizer.step(0.2)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_long_gradients_are_clipped_and_their_norm_told():
    parameter = torch.nn.Parameter(torch.zeros(3))
    model = torch.nn.ParameterDict({"w": parameter})
    optimizers = Optimizers(model, OptimizerConfig())
    parameter.grad = torch.tensor([30.0, 0.0, 40.0])
    norm = optimizers.step(0.5)
    assert norm.item() == pytest.approx(50.0)
    average = optimizers.parts[0].state[parameter]["exp_avg"]
    torch.testing.assert_close(average, (1 - 0.9) * torch.tensor([0.6, 0.0, 0.8]))


def test_schedule_rises_then_falls_to_its_final_share():
    config = OptimizerConfig(warmup=0.1, final=0.02)
    assert schedule(0.05, config) == pytest.approx(0.5)
    assert schedule(0.1, config) == pytest.approx(1.0)
    assert schedule(0.55, config) == pytest.approx(0.51)
    assert schedule(1.0, config) == pytest.approx(0.02)
