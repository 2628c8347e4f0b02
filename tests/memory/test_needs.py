import pytest
import torch
from torch import nn

from happyhorse.config import ModelConfig, magihuman_15b
from happyhorse.memory.needs import module_stage, transformer_stage, transformer_working
from happyhorse.memory.stream import tensor_bytes
from happyhorse.memory.trace import LiveBytes
from happyhorse.model.transformer import Transformer
from happyhorse.sampling.published import PublishedShape
from happyhorse.types import Latents, Text

SMALL = ModelConfig(
    hidden=64, head_dim=16, query_heads=4, kv_heads=2, shared=3, text="features", text_channels=32, coordinates="v2"
)


def test_the_published_model_needs_what_its_files_hold():
    stage = transformer_stage("generate", magihuman_15b(), PublishedShape(5, 256, 448), 300)
    assert stage.weights == 30_642_008_128
    assert len(stage.layers) == 40
    assert stage.layers[0] > stage.layers[4] == 2 * 272_824_576 + 2 * (2 * 5120 + 2 * 128)
    # 4,010 rows: the residual stream alone takes 80 MB.
    assert 0.5e9 < stage.working < 3e9


def test_working_memory_follows_the_rows_and_the_chunks():
    small, large = PublishedShape(1, 64, 64), PublishedShape(1, 256, 256)
    whole = transformer_working(SMALL, large, 5, rows=10**6)
    assert transformer_working(SMALL, small, 5, rows=10**6) < whole / 5
    assert transformer_working(SMALL, large, 5, rows=64) < whole
    twice = transformer_working(SMALL, large, 5, rows=10**6, batch=2)
    assert twice == pytest.approx(2 * whole, rel=0.1)


@torch.no_grad()
def test_a_dry_run_of_one_layer_of_each_kind_tells_what_all_of_them_take():
    shape = PublishedShape(1, 128, 128)
    model, text = Transformer(SMALL), Text(torch.randn(1, 5, 32), torch.tensor([5]))
    latents = Latents(torch.randn(1, 48, *shape.latent_size), torch.randn(1, shape.audio_latents, 64))
    with LiveBytes() as counted:
        counted.ignore(*model.parameters(), *model.buffers(), latents.video, latents.audio, text.values)
        model(latents, text)
    expected = counted.peak + 4 * (latents.video.numel() + latents.audio.numel() + text.values.numel())
    assert transformer_working(SMALL, shape, 5, rows=10**6) == pytest.approx(expected, rel=0.05)


def test_any_module_is_a_stage():
    module = nn.Sequential(nn.Linear(10, 10), nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 5)]))
    stage = module_stage("decode", module, 1000, module[1])  # type: ignore[arg-type]
    assert stage.layers == (80, 100)
    assert stage.weights == tensor_bytes(module) == 440 + 180
    assert stage.whole == 1620
