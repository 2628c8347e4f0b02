"""What several tests share: a tiny model on disk, a disk that is full, and the golden sets."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

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


@pytest.fixture(autouse=True)
def packages(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Compiled packages are kept in a folder that is made for the test; it is not there at first."""
    folder = tmp_path_factory.mktemp("data") / "compiled"
    monkeypatch.setenv("HAPPYHORSE_COMPILED", str(folder))
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


# ------------------------------------------------------------------------------------------------ public models, tiny
PUBLIC_GEOMETRY = ModelConfig(
    hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=2, text="features", text_channels=48, coordinates="v2"
)


@pytest.fixture
def public_models(golden, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All public models as a pull leaves them, in their authors' layouts, but tiny: codecs and text encoder have the
    golden weights, Transformers random ones."""
    from happyhorse.codecs.oobleck import PUBLIC_PREFIX, OobleckConfig, StableAudioCodec
    from happyhorse.codecs.turbo import TurboDecoder
    from happyhorse.codecs.turbo_published import config_from_json
    from happyhorse.codecs.wan import WanConfig, WanVideoCodec
    from happyhorse.sampling import public_parts
    from happyhorse.weights.catalogue import MODELS, STABLE_AUDIO, T5GEMMA, TURBO_VAE, WAN_VAE

    def geometry(kind: str) -> ModelConfig:
        local = (0, 1) if kind == "1080p" else ()
        return PUBLIC_GEOMETRY.replace(coordinates="v2" if kind in ("base", "distill") else "v1", local_layers=local)

    for name in ("happyhorse.sampling.public_parts", "happyhorse.weights.convert"):
        monkeypatch.setattr(f"{name}.public_transformer", geometry)
    monkeypatch.setattr(public_parts, "_wan", lambda: WanVideoCodec(WanConfig(encoder_width=4, decoder=False)))
    monkeypatch.setattr(public_parts, "_oobleck", lambda: StableAudioCodec(OobleckConfig(width=4)))
    turbo = golden("turbo_vae_weights")
    settings = {**turbo.settings["config"], "first_chunk_size": 7, "step_size": 7}
    monkeypatch.setattr(public_parts, "_turbo", lambda: TurboDecoder(config_from_json(settings)))
    monkeypatch.setattr(public_parts, "TEXT_WORKING", 100_000)
    monkeypatch.setattr(public_parts, "T5GEMMA_9B", {"encoder": golden("t5gemma_encoder").settings["config"]})

    for model in MODELS:
        torch.manual_seed(len(model.name))
        network = Transformer(geometry(model.name.removeprefix("magihuman-")))
        for head in (network.final_linear_video, network.final_linear_audio):
            torch.nn.init.normal_(head.weight, std=0.1)
        _lay(models, model.parts["transformer"], {"model.safetensors": save(network.state_dict())})
    checkpoint = {"ema_state_dict": {f"module.{name}": value for name, value in turbo.items()}, "step": 340000}
    _lay(models, TURBO_VAE, {TURBO_VAE.files[0]: json.dumps(settings).encode(), TURBO_VAE.files[1]: _torch(checkpoint)})
    _lay(models, WAN_VAE, {WAN_VAE.files[0]: _torch(dict(golden("wan_vae_weights")))})
    sound = {f"{PUBLIC_PREFIX}{name}": value for name, value in golden("audio_vae_weights").items()}
    _lay(models, STABLE_AUDIO, {"model_config.json": b"{}", "model.safetensors": save(sound)})
    _lay(models, T5GEMMA, _text_files(golden("t5gemma_encoder")))
    return models


def _text_files(case) -> dict[str, bytes]:
    """A text encoder with a tokenizer that knows a few dozen letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = {"<pad>": 0, "<eos>": 1, "<bos>": 2, **{letter: number + 3 for number, letter in enumerate(letters)}}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[a-z]"}, "behavior": "Isolated", "invert": False},
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<pad>"},
    }
    weights = {name.removeprefix("w."): value for name, value in case.items() if name.startswith("w.")}
    return {
        "config.json": json.dumps({"model_type": "t5gemma", "encoder": case.settings["config"]}).encode(),
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode(),
        "model.safetensors": save({f"model.{name}": value for name, value in weights.items()}),
    }


def _torch(content: dict) -> bytes:
    written = io.BytesIO()
    torch.save(content, written)
    return written.getvalue()


def _lay(models: Path, part, files: dict[str, bytes]) -> None:
    """Puts a part's files and their record where a pull would."""
    from happyhorse.weights.kept import WantedFile, write_record

    folder = models / part.name
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    record = [WantedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()]
    write_record(folder, part, record)
