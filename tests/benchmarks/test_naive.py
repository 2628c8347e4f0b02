"""The naive port that we are measured by does the same maths: else its time would say nothing."""

import importlib

import pytest
import torch

from happyhorse.config import ModelConfig, foal
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.pipeline import load_part
from happyhorse.types import Latents, Text
from happyhorse.weights.registry import resolve

DIT = ["dit_t2v", "dit_ti2v", "dit_sr540", "dit_sr1080_local"]


@pytest.fixture
def naive(benchmarks):
    return importlib.import_module("naive")


def error(one: Latents, other: Latents) -> float:
    """Largest difference in units of the largest velocity."""
    return max(
        float((a - b).abs().max() / b.abs().max())
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def clip(frames: int, side: int) -> Latents:
    generator = torch.Generator().manual_seed(0)
    video = torch.randn(1, 48, frames, side, side, generator=generator)
    return Latents(video, torch.randn(1, 4 * frames - 3, 64, generator=generator))


def lively(config: ModelConfig) -> Transformer:
    """Random weights everywhere, so that nothing that a part does is hidden by a zero."""
    model = Transformer(config).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.3 if "norm" in name else 0.1))
    return model


@pytest.mark.parametrize("name", DIT)
@torch.no_grad()
def test_the_published_velocity(golden, naive, name):
    """The authors' own numbers, for geometries with features, windows and weights of each modality."""
    case = golden(name)
    model = golden.published(case)
    count = case.settings["n_text"]
    text = Text(case["in.txt_feat"][:, :count], torch.tensor([count]))
    velocity = naive.Naive(model)(Latents(case["in.x_t"], case["in.audio_x_t"]), text)
    assert case.error("out.video", velocity.video) < 1e-4
    assert case.error("out.audio", velocity.audio) < 1e-4


@pytest.mark.parametrize("changes", [{}, {"local_layers": (0, 2), "receptive_field": 1}, {"gate": "none"}])
@torch.no_grad()
def test_a_prompt_of_tokens(naive, changes):
    model = lively(foal(hidden=32, head_dim=8, query_heads=4, kv_heads=2, shared=1, text_vocab=32, **changes))
    text, latents = Text(torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([5])), clip(5, 4)
    assert error(naive.Naive(model)(latents, text), model(latents, text)) < 1e-5


@torch.no_grad()
def test_the_foal(naive):
    found = resolve("foal")
    model = load_part(found.folder, found.manifest, found.generator, Transformer, ModelConfig)
    text, latents = Text(torch.arange(10, 30)[None], torch.tensor([20])), clip(4, 8)
    memory = model.encode_text(text)
    assert error(naive.Naive(model)(latents, text), model(latents, memory)) < 1e-5
