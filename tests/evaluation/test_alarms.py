"""Alarms go off where they should, on models whose faults are known."""

import dataclasses

import pytest
import torch

from happyhorse.evaluation.alarms import Alarms
from happyhorse.recipes.distill import foal_distill_tiny
from happyhorse.sampling.pipeline import load_parts
from happyhorse.types import Latents
from happyhorse.weights.registry import resolve
from happyhorse.weights.store import verified


class Deaf:
    """Hears nothing."""

    name, fingerprint, languages = "deaf", "0", ()

    def transcribe(self, waveform, language):
        return ""


class Quiet:
    """A decoder of silence."""

    def decode(self, latents):
        return torch.zeros(len(latents), 12_000)


@pytest.fixture
def parts(tiny_model):
    found = load_parts(resolve(tiny_model), torch.device("cpu"))
    return dataclasses.replace(found, sampling=found.sampling.replace(steps=2))


def weights(tiny_model):
    model = resolve(tiny_model)
    return verified(model.folder, model.manifest, model.generator)


def test_figures_of_a_candidate(parts, tiny_model):
    found = Alarms(parts, seconds=0.5)(weights(tiny_model))
    assert set(found) == {"silent", "loudness", "speech errors", "spread, picture", "spread, sound"}
    assert 0 <= found["silent"] <= 1 and 0 < found["speech errors"] <= 1
    assert 0.1 < found["spread, picture"] < 3 and 0.1 < found["spread, sound"] < 3


def test_silence_and_a_seed_that_counts_nothing_show(parts, tiny_model, monkeypatch):
    monkeypatch.setattr("happyhorse.sampling.pipeline.draw_noise", _constant)
    found = Alarms(dataclasses.replace(parts, audio=Quiet()), seconds=0.5)(weights(tiny_model))
    assert found["silent"] == 1 and found["loudness"] == -70
    assert found["spread, picture"] == 0 and found["spread, sound"] == 0


def _constant(shape, generator):
    return Latents(torch.ones(1, 48, *shape.latent_size), torch.ones(1, shape.audio_latents, 64))


def test_a_student_that_says_nothing_right_is_wrong_throughout(parts, tiny_model):
    assert Alarms(parts, seconds=0.5, ear=Deaf())(weights(tiny_model))["speech errors"] == 1


def test_a_recipes_alarms_sample_as_its_student_does():
    config = foal_distill_tiny()
    sampling = Alarms.of(config).parts.sampling
    assert (sampling.steps, sampling.shift, sampling.sampler) == (config.steps, config.shift, config.sampler)
    assert (sampling.guidance_video, sampling.guidance_audio) == (1, 1)
