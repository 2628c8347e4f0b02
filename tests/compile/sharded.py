"""One of two processes that train a model together: ``python sharded.py MEETING_FILE RANK`` prints its losses."""

import datetime
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from happyhorse.compile.training import compile_for_training
from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.types import Latents, Text

CONFIG = ModelConfig(
    hidden=16, head_dim=8, query_heads=2, kv_heads=1, specific_first=0, shared=2, specific_last=0, gelu7_layers=(),
    text="features", text_channels=8,
)  # fmt: skip


def losses(model: nn.Module, rows: slice, steps: int = 3) -> list[float]:
    """Losses of some steps on these samples of one batch."""
    generator = torch.Generator().manual_seed(1)
    latents = Latents(torch.randn(4, 48, 2, 4, 4, generator=generator), torch.randn(4, 5, 64, generator=generator))
    text = Text(torch.randn(4, 6, 8, generator=generator), torch.tensor([6, 4, 6, 4]))
    optimizer, found = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(steps):
        velocity = model(latents[rows], Text(text.values[rows], text.lengths[rows]))
        loss = velocity.video.square().mean() + velocity.audio.square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def make_model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CONFIG)
    for head in (model.final_linear_video, model.final_linear_audio):
        nn.init.normal_(head.weight, std=0.1)
    return model


def plain_losses() -> list[float]:
    """Those of one process with the whole batch."""
    return losses(make_model(), slice(None))


def sharded_losses(meeting: str, rank: int) -> list[float]:
    """Those of one of two processes, each with half of every weight and half of the batch."""
    store, patience = dist.FileStore(meeting, 2), datetime.timedelta(minutes=4)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=patience)
    mesh, model = init_device_mesh("cpu", (2,)), make_model()
    for layer in model.block.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    compile_for_training(model, recompute="cheap", backend="aot_eager")
    found = losses(model, slice(2 * rank, 2 * rank + 2))
    dist.destroy_process_group()
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(*sharded_losses(sys.argv[1], int(sys.argv[2])))
