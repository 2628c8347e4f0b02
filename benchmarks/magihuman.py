"""What the published 15.3 B models cost here, stage by stage: random weights of the true shapes, real code.

``python benchmarks/magihuman.py [--formats bf16 fp8] [--streamed] [--only 256p 540p] [--toy] [--out table.md]``

Needs a CUDA device; ``--toy`` runs the same on the CPU with a network a few thousand times smaller, so that it cannot
rot. For every stage: seconds (median of three, after one that warms up), the floating-point operations that were asked
for and how many of them a second were done, as a number and as a share of what a large matrix product reaches in the
same run, peak memory, and beside it what 790 TFLOP/s would take and what the authors publish for an H100.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from happyhorse.clip import Clip
from happyhorse.codecs.oobleck import OobleckConfig, StableAudioCodec
from happyhorse.codecs.resample import FILE_RATE, to_44100
from happyhorse.codecs.t5gemma import T5GemmaText, build_encoder
from happyhorse.codecs.turbo import TurboConfig, TurboDecoder
from happyhorse.config import ModelConfig
from happyhorse.memory.needs import ROWS, default_dtype
from happyhorse.memory.rows import chunk_rows
from happyhorse.memory.stream import stream_layers
from happyhorse.memory.turns import borrowed
from happyhorse.model.quantised import KINDS, quantise
from happyhorse.model.transformer import Transformer
from happyhorse.sampling import published
from happyhorse.sampling.public import CHUNK, to_bytes
from happyhorse.sampling.public_parts import T5GEMMA_9B
from happyhorse.sampling.published import DISTILL, FPS, PublishedShape, Rendering
from happyhorse.types import Latents, Text
from happyhorse.weights.formats import public_transformer

TOKENS = 300
"""Of a prompt, as in the published timings."""
PREVIEW = PublishedShape(5, 256, 448)
RENDERS = {
    "540p": ("540p", PublishedShape(5, 512, 896)),
    "720p": ("540p", PublishedShape(5, 704, 1280)),
    "1080p": ("1080p", PublishedShape(5, 1088, 1920)),
}
PUBLISHED = {
    "generate 256p": (1.02, 1.6),
    "render 540p": (3.2, 5.1),
    "render 1080p": (24.2, 31.0),
    "picture 256p": (0.08, 0.4),
    "picture 540p": (0.33, 1.3),
    "picture 1080p": (1.5, 5.8),
}
"""Seconds of the compute floor at 790 TFLOP/s, and as published for an H100 (pictures with their sound)."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The size of everything."""

    device: torch.device
    generator: Callable[[str], ModelConfig]
    """Configuration of a Transformer by its kind."""
    text: dict[str, Any]
    turbo: TurboConfig
    oobleck: OobleckConfig
    preview: PublishedShape
    renders: dict[str, tuple[str, PublishedShape]]
    repeats: int = 3

    @property
    def features(self) -> int:
        return self.text["encoder"]["hidden_size"]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    stage: str
    seconds: float
    flops: float
    """Of all passes; 0 where they are not counted."""
    peak: int
    """Bytes on the device; 0 on a CPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", nargs="+", default=["bf16"], choices=["bf16", "fp8", "int8"])
    parser.add_argument("--streamed", action="store_true", help="all layers from host memory as well")
    parser.add_argument("--only", nargs="+", default=["256p", "540p", "720p", "1080p"])
    parser.add_argument("--toy", action="store_true", help="very small, on the CPU")
    parser.add_argument("--out", type=Path, default=None, help="write the table here too")
    asked = parser.parse_args()
    if not asked.toy and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --toy runs a very small network on the CPU")
    setting = toy() if asked.toy else true_size()
    with torch.inference_mode():
        text = measure_text(setting)
        rows = [text, *measure_codecs(setting, asked.only)]
        for number_format in asked.formats:
            rows += measure_transformers(setting, number_format, asked.only, streamed=False)
            if asked.streamed:
                rows += measure_transformers(setting, number_format, asked.only, streamed=True)
        rows += together(rows, setting)
        found = table(rows, matmul_ceiling(setting.device), describe(setting.device), {} if asked.toy else PUBLISHED)
    print(found)
    if asked.out:
        asked.out.write_text(found + "\n", encoding="utf-8")


def together(rows: list[Row], setting: Setting) -> list[Row]:
    """From prompt to file, as the sum of its stages, for every size and way that were measured."""
    seconds = {row.stage: row.seconds for row in rows}
    found = []
    for stage in seconds:
        name, _, way = stage.partition(" (")
        if name == "generate 256p":
            made = seconds["text"] + seconds[stage] + seconds["sound"]
            for size in ("256p", *setting.renders):
                larger = 0.0 if size == "256p" else seconds.get(f"render {size} ({way}")
                if larger is not None and f"picture {size}" in seconds:
                    whole = made + larger + seconds[f"picture {size}"] + seconds[f"write {size}"]
                    found.append(Row(f"all stages {size} ({way}", whole, 0, 0))
    return found


def true_size() -> Setting:
    return Setting(
        torch.device("cuda"), public_transformer, T5GEMMA_9B, TurboConfig(), OobleckConfig(), PREVIEW, RENDERS
    )


def toy() -> Setting:
    """The same code in miniature."""
    small = ModelConfig(hidden=64, head_dim=16, query_heads=4, kv_heads=2, shared=2, text="features", text_channels=32)
    half = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 4096,
    }
    renders = {name: (kind, PublishedShape(1, 96, 128)) for name, (kind, _) in RENDERS.items()}
    return Setting(
        torch.device("cpu"),
        lambda kind: small.replace(
            coordinates="v2" if kind == "distill" else "v1", local_layers=(0,) if kind == "1080p" else ()
        ),
        {"encoder": half},
        TurboConfig(widths=(16, 12, 8, 4), middle=1, resnets=(1, 1, 1, 1)),
        OobleckConfig(width=4),
        PublishedShape(1, 64, 64),
        renders,
        repeats=1,
    )


# ------------------------------------------------------------------------------------------------------------- stages
def measure_text(setting: Setting) -> Row:
    """Reading a prompt, with the encoder alone on the device."""
    encoder = build_encoder(setting.text, device=setting.device)
    randomise(encoder)
    coder = T5GemmaText(lambda text: {"input_ids": list(range(TOKENS))}, encoder)  # type: ignore[arg-type]
    if setting.text is not T5GEMMA_9B:
        coder = T5GemmaText(lambda text: {"input_ids": [1] * 20}, encoder)  # type: ignore[arg-type]
    return measured("text", setting, lambda: coder.features(coder.ids("")))


def measure_transformers(setting: Setting, number_format: str, only: list[str], streamed: bool) -> list[Row]:
    """Preview and renders, each with its Transformer alone on the device."""
    name = f"{number_format}{', streamed' if streamed else ''}"
    rows = []
    if "256p" in only:
        rows.append(
            measure_passes(setting, f"generate 256p ({name})", "distill", setting.preview, number_format, streamed)
        )
    for size, (kind, shape) in setting.renders.items():
        if size in only:
            rows.append(measure_passes(setting, f"render {size} ({name})", kind, shape, number_format, streamed))
    return rows


def measure_passes(
    setting: Setting, name: str, kind: str, shape: PublishedShape, number_format: str, streamed: bool
) -> Row:
    """All steps of a generation or a render."""
    model = transformer(setting, kind, number_format, streamed)
    text = Text(
        torch.randn(1, TOKENS, setting.features, device=setting.device), torch.tensor([TOKENS], device=setting.device)
    )
    generator = torch.Generator().manual_seed(0)
    noise = published.draw_noise(shape, generator).to(setting.device)
    small = published.draw_noise(setting.preview, generator).to(setting.device)
    steps = DISTILL.steps if kind == "distill" else Rendering().steps

    def run() -> object:
        if kind == "distill":
            return published.generate(model, text, None, noise, DISTILL, generator=generator)
        return published.render(model, text, None, small, noise, Rendering())

    flops = steps * pass_flops(setting.generator(kind), shape)
    with borrowed(model, setting.device):
        return measured(name, setting, run, flops)


def transformer(setting: Setting, kind: str, number_format: str, streamed: bool) -> Transformer:
    """A Transformer with random weights, on the device or with its layers in host memory."""
    with torch.device("meta"):
        model = Transformer(setting.generator(kind))
    model.to_empty(device=setting.device)
    randomise(model)
    if number_format in KINDS:
        quantise(model, number_format, dynamic=True)
    chunk_rows(model.block.layers, ROWS)
    if streamed:
        stream_layers(model.block.layers, setting.device)
    return model.eval()


def measure_codecs(setting: Setting, only: list[str]) -> list[Row]:
    """Pictures at every size, the sound, and the file."""
    with torch.device(setting.device):
        sound = StableAudioCodec(setting.oobleck)
    latents = torch.randn(1, setting.preview.audio_latents, 64, device=setting.device)
    rows = [measured("sound", setting, lambda: to_44100(sound.decode(latents)[0]).cpu())]
    with default_dtype(torch.bfloat16), torch.device(setting.device):
        turbo = TurboDecoder(setting.turbo).channels_last().eval()
    for size, shape in {
        "256p": setting.preview,
        **{name: shape for name, (_, shape) in setting.renders.items()},
    }.items():
        if size in only:
            video = torch.randn(1, 48, *shape.latent_size, device=setting.device)
            rows.append(measured(f"picture {size}", setting, lambda video=video: decoded(turbo, video)))
            rows.append(measured(f"write {size}", setting, lambda shape=shape: written(shape)))
    return rows


def decoded(turbo: TurboDecoder, video: torch.Tensor) -> list[np.ndarray]:
    return [to_bytes(part) for part in turbo.decode_chunks(video, CHUNK)]


def written(shape: PublishedShape) -> None:
    """An mp4 of moving noise, which is harder to encode than most clips."""
    rng = np.random.default_rng(0)
    frames = np.repeat(
        np.repeat(rng.integers(0, 255, (shape.frames, shape.height // 16, shape.width // 16, 3)), 16, 1), 16, 2
    )
    audio = np.zeros((2, shape.frames * FILE_RATE // FPS), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        Clip(frames.astype(np.uint8), audio, FPS, FILE_RATE, {}).save(Path(folder) / "clip.mp4")


# ---------------------------------------------------------------------------------------------------------- measuring
def randomise(module: nn.Module) -> None:
    """Weights that keep rows finite; norms and tables stay as they were made."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.02)
        else:
            nn.init.zeros_(parameter)
    if isinstance(module, Transformer):
        bands = len(module.adapter.rope.bands)
        module.adapter.rope.bands.copy_(10_000.0 ** (-torch.arange(bands) / bands))


def measured(name: str, setting: Setting, run: Callable[[], object], flops: float = 0) -> Row:
    """Median seconds of some runs after one that warms up, and the peak of the device's memory."""
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(setting.repeats + 1):
        began = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() if cuda else 0
    row = Row(name, statistics.median(times[1:]), flops, peak)
    print(f"{row.stage}: {row.seconds:.3f} s", flush=True)
    return row


def pass_flops(config: ModelConfig, shape: PublishedShape) -> int:
    """Floating-point operations of one pass, counted by a dry run."""
    # The dry run is on a CPU, whose attention torch does not count by itself.
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    known = {attention: lambda q, k, v, *_, out_shape=None, **__: sdpa_flop_count(q, k, v)}
    with FakeTensorMode(allow_non_fake_inputs=True), FlopCounterMode(display=False, custom_mapping=known) as counter:
        model = Transformer(config)
        lengths = torch.tensor([TOKENS])
        latents = Latents(torch.empty(1, 48, *shape.latent_size), torch.empty(1, shape.audio_latents, 64))
        text = Text(torch.empty(1, TOKENS, config.text_channels), lengths)
        model(latents, text)
    return counter.get_total_flops()


def matmul_ceiling(device: torch.device) -> float:
    """FLOP/s of a large bfloat16 matrix product."""
    side = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 2 * side**3 / statistics.median(times[2:])


def describe(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "toy size on a CPU"
    return f"{name}, torch {torch.__version__}"


def table(rows: list[Row], ceiling: float, where: str, known: dict[str, tuple[float, float]]) -> str:
    """Markdown."""
    lines = [
        f"{where}; a large matrix product reaches {ceiling / 1e12:.0f} TFLOP/s",
        "",
        "| stage | s | TFLOP | TFLOP/s | of the matrix product | peak, GiB | floor, s | published, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        floor, official = known.get(row.stage.split(" (")[0], ("", ""))
        rate = row.flops / row.seconds
        work = f"{row.flops / 1e12:.3g} | {rate / 1e12:.3g} | {rate / ceiling:.0%}" if row.flops else " | | "
        lines.append(f"| {row.stage} | {row.seconds:.3f} | {work} | {row.peak / 2**30:.1f} | {floor} | {official} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
