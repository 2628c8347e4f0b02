"""What several tests share: a tiny model on disk, a disk that is full, and the golden sets."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch

from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
from happyhorse.codecs.text import Tokenizer
from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.config import ModelConfig
from happyhorse.model.transformer import Transformer
from happyhorse.weights.store import save_module, write_manifest

NARROW_VIDEO = VideoCodecConfig(
    encoder_fine=8, encoder_coarse=8, decoder_coarse=8, decoder_middle=8, decoder_fine=8, blocks=1
)
NARROW_AUDIO = AudioCodecConfig(decoder_width=8, vocoder_width=8, vocoder_blocks=1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights: complete, and quick enough for tests of everything around the model."""
    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = Tokenizer.load().vocab_size
    config = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1, text_vocab=vocabulary)
    near = config.replace(local_layers=(0, 1, 2), receptive_field=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for role, geometry in (("base", config), ("distilled", config), ("superres", near)):
            model = Transformer(geometry)
            for head in (
                model.final_linear_video,
                model.final_linear_audio,
            ):  # they start at zero: nothing would happen
                torch.nn.init.normal_(head.weight, std=0.1)
            save_module(model, folder / f"{role}.safetensors")
        save_module(VideoCodec(NARROW_VIDEO), folder / "video.safetensors")
        save_module(AudioCodec(NARROW_AUDIO), folder / "audio.safetensors")
    generators = {"base": {}, "distilled": {"steps": 1, "guidance_video": 1.0, "guidance_audio": 1.0, "sampler": "dmd"}}
    superres = {"source": "picture", "steps": 2}
    write_manifest(folder, "tiny", {"steps": 2, "seconds": 0.5}, generators=generators, superres=superres)
    return folder


@pytest.fixture(autouse=True)
def library(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Clips are kept in a folder that is made for the test; it is not there at first."""
    folder = tmp_path_factory.mktemp("data") / "library"
    monkeypatch.setenv("HAPPYHORSE_LIBRARY", str(folder))
    return folder


@pytest.fixture(autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Public weights are looked for in a folder that is made for the test; it is not there at first."""
    folder = tmp_path_factory.mktemp("data") / "models"
    monkeypatch.setenv("HAPPYHORSE_MODELS", str(folder))
    return folder


@pytest.fixture
def disk_of() -> Callable[[int], AbstractContextManager[None]]:
    """``with disk_of(1000):`` lets files grow to 1000 bytes; what writes more fails as on a full disk."""

    @contextlib.contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def moving_frames() -> np.ndarray:
    """Twelve smooth frames uint8 [12, 64, 96, 3] of a wave that moves to the left."""
    y, x, t = np.arange(64)[:, None], np.arange(96)[None], np.arange(12)[:, None, None]
    red, green, blue = np.sin(x / 15 + t / 4) + 0 * y, np.cos(y / 12) + 0 * x + 0 * t, np.sin((x + y) / 20) + 0 * t
    return (128 + 90 * np.stack([red, green, blue], axis=-1)).round().astype(np.uint8)


@pytest.fixture(scope="session", params=["small", *(["full"] if "HAPPYHORSE_GOLDEN" in os.environ else [])])
def golden(request: pytest.FixtureRequest):
    """Golden cases by name: ``golden("dit_t2v")``. Set HAPPYHORSE_GOLDEN to the full set's folder to test it too."""
    spec = importlib.util.spec_from_file_location("golden_reader", Path(__file__).parent / "golden" / "reader.py")
    assert spec is not None and spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    return reader.GoldenSet(None if request.param == "small" else Path(os.environ["HAPPYHORSE_GOLDEN"]))
