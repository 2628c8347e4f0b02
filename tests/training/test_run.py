"""A whole run by its name, with small codecs of random weights: cache, training, samples, weights, resumption."""

import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, WeightsError
from happyhorse.model.transformer import Transformer
from happyhorse.recipes.foal import foal_tiny
from happyhorse.recipes.recipe import CacheSet
from happyhorse.training.build import make_state
from happyhorse.training.run import Options, find_codecs, make_source, start_from, train
from happyhorse.training.stop import Stop
from happyhorse.weights.store import load_config, load_module, save_module


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    torch.manual_seed(0)
    video = VideoCodec(
        VideoCodecConfig(encoder_fine=8, encoder_coarse=8, decoder_coarse=8, decoder_middle=8, decoder_fine=8)
    )
    audio = AudioCodec(AudioCodecConfig(decoder_width=8, vocoder_width=8, vocoder_blocks=1))
    save_module(video, folder / "video.safetensors")
    save_module(audio, folder / "audio.safetensors")
    return folder


@pytest.fixture(autouse=True)
def threads():
    """A run takes all cores; other tests keep what they had."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_from_its_name_to_its_weights(tmp_path, codecs):
    lines = []
    assert train("foal-tiny", tmp_path / "run", device="cpu", codecs=codecs, report=lines.append) == 0
    out = tmp_path / "run"
    assert {path.name for path in out.iterdir()} == {
        *("recipe.json", "log.jsonl", "base.safetensors", "cache", "samples"),
        *("checkpoint-00000006.pt", "checkpoint-00000008.pt"),
    }
    assert [path.name for path in (out / "samples").iterdir()] == ["step-00000008-0.mp4"]
    assert len((out / "log.jsonl").read_text().splitlines()) == 8
    assert lines[-1].startswith("done: 8 steps")

    config = load_config(ModelConfig, out / "base.safetensors")
    assert config == foal_tiny().model
    model = Transformer(config)
    load_module(model, out / "base.safetensors")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_paused_run_goes_on_with_its_own_dials(tmp_path, codecs):
    """The second command does not repeat ``steps`` and ``scale``; the folder knows them."""
    shared = {"device": "cpu", "codecs": codecs, "cache": tmp_path / "cache"}
    quiet = {"report": lambda line: None}
    train("foal-tiny", tmp_path / "whole", steps=6, scale=2, **shared, **quiet)

    def press_once(line):
        if line.startswith("step 2/"):
            signal.raise_signal(signal.SIGINT)

    assert train("foal-tiny", tmp_path / "run", steps=6, scale=2, **shared, report=press_once) == 130
    lines = []
    assert train("foal-tiny", tmp_path / "run", **shared, report=lines.append) == 0
    assert lines[0].startswith("resuming at step 3: foal-tiny, 6 steps")
    ours, theirs = (load_file(tmp_path / name / "base.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_time_up_before_the_first_step_is_no_error(tmp_path, codecs):
    lines = []
    assert train("foal-tiny", tmp_path / "run", device="cpu", codecs=codecs, minutes=0, report=lines.append) == 0
    assert "time is up while encoding" in lines[-1]


def test_fresh_starts_again(tmp_path, codecs):
    options = {"device": "cpu", "codecs": codecs, "cache": tmp_path / "cache", "report": lambda line: None}
    train("foal-tiny", tmp_path / "run", **options)
    train("foal-tiny", tmp_path / "run", resume=False, **options)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))


def test_scenes_on_the_fly_need_no_cache(tmp_path, codecs):
    train("foal-tiny", tmp_path / "run", device="cpu", codecs=codecs, online=True, steps=2, report=lambda line: None)
    assert not (tmp_path / "run" / "cache").exists()
    assert (tmp_path / "run" / "base.safetensors").exists()


@pytest.mark.parametrize("online", [False, True])
def test_a_shape_of_one_family_shows_it_alone(tmp_path, codecs, online):
    small = foal_tiny().caches[0].shape
    config = foal_tiny().replace(caches=(CacheSet(small, 6, family="ball"),), prompt_dropout=0.0)
    device = torch.device("cpu")
    options = Options(tmp_path, device=device, online=online)
    source = make_source(config, options, find_codecs(codecs, device), Stop(None), lambda line: None)
    assert all("ball" in prompt for prompt in source.batch(0, small, 6).prompts)


def test_user_errors(tmp_path, codecs):
    with pytest.raises(ConfigError, match='"pony" is unknown'):
        train("pony", tmp_path / "run")
    with pytest.raises(WeightsError, match="foal-codec"):
        train("foal-tiny", tmp_path / "run", device="cpu", codecs=tmp_path)
    with pytest.raises(ConfigError, match="device"):
        train("foal-tiny", tmp_path / "run", device="abacus")


def test_a_run_can_start_from_the_weights_of_another(tmp_path):
    config = foal_tiny()
    state, other = (make_state(c, torch.device("cpu"), torch.float32) for c in (config, config.replace(seed=5)))
    save_module(other.model, tmp_path / "base.safetensors", torch.float32)
    start_from(tmp_path / "base.safetensors", state)
    assert all(torch.equal(a, b) for a, b in zip(state.model.parameters(), other.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state.average.values, other.average.values, strict=True))
