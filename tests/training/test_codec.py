"""A rehearsal of the codecs' whole run: files that load, a stop that is resumed to the same weights."""

import torch
from safetensors.torch import load_file

from happyhorse.codecs.audio import AudioCodec, AudioCodecConfig
from happyhorse.codecs.video import VideoCodec, VideoCodecConfig
from happyhorse.recipes.codec import foal_codec_tiny, foal_picture_tiny
from happyhorse.training.codec import train_codecs, train_picture
from happyhorse.training.stop import TIME_IS_UP, Stop
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import load_config, load_module


def quiet(line: str) -> None:
    pass


def test_a_run_writes_both_codecs(tmp_path):
    assert train_codecs(foal_codec_tiny(), tmp_path, report=quiet) == 0
    for name, kind, config in (("video", VideoCodec, VideoCodecConfig), ("audio", AudioCodec, AudioCodecConfig)):
        codec = kind(load_config(config, tmp_path / f"{name}.safetensors"))
        load_module(codec, tmp_path / f"{name}.safetensors")
        assert all(torch.isfinite(value).all() for value in codec.state_dict().values())


class SoonStop(Stop):
    """Out of time at the fifth look at the clock: after the two clips are rendered and a step or two are done."""

    looks = 0

    def reason(self) -> str | None:
        self.looks += 1
        return TIME_IS_UP if self.looks >= 5 else None


def test_a_paused_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    config = foal_codec_tiny()
    train_codecs(config, tmp_path / "whole", report=quiet)
    monkeypatch.setattr("happyhorse.training.codec.Stop", SoonStop)
    lines: list[str] = []
    calls = 0
    while not (lines and lines[-1].startswith("done")):
        train_codecs(config, tmp_path / "paused", report=lines.append)
        calls += 1
        assert calls < 30, "the run does not get on"
    assert calls > 3
    for name in ("video", "audio"):
        whole, paused = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "paused"))
        assert all(torch.equal(whole[key], paused[key]) for key in whole)


def test_a_decoder_alone_leaves_latents_as_they_were(tmp_path):
    assert train_picture(foal_picture_tiny(), tmp_path, report=quiet) == 0
    before, after = (load_file(folder / "video.safetensors") for folder in (resolve("foal").folder, tmp_path))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all(name.startswith("decoder.") for name in moved)
