"""Clips made during training."""

import torch
from safetensors.torch import load_file

from happyhorse.recipes.foal import foal_tiny
from happyhorse.training.samples import SampleWriter


def writer(folder, words, prompts=("a red thing", "a blue thing")):
    config = foal_tiny().samples.replace(prompts=prompts, steps=2)
    return SampleWriter(config, (48, 64), words, folder, torch.device("cpu"))


def test_without_codecs_latents_are_written_and_the_weights_come_back(tmp_path, make_job, words):
    _, state = make_job(tmp_path)
    state.step = 12
    own = state.model.final_linear_video.weight.clone()
    torch.nn.init.normal_(state.average.values[-1])
    writer(tmp_path / "samples", words)(state)
    latents = load_file(tmp_path / "samples" / "step-00000012.safetensors")
    assert latents["video"].shape == (2, 48, 4, 2, 2) and latents["audio"].shape == (2, 13, 64)
    assert torch.equal(state.model.final_linear_video.weight, own)


def test_samples_are_always_made_of_the_same_noise(tmp_path, make_job, words):
    _, state = make_job(tmp_path)
    make = writer(tmp_path, words)
    a, b = make.generate(state.model), make.generate(state.model)
    assert torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio)


def test_no_prompts_no_files(tmp_path, make_job, words):
    _, state = make_job(tmp_path)
    writer(tmp_path / "samples", words, prompts=())(state)
    assert not (tmp_path / "samples").exists()
