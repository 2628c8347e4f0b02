"""The loop: a golden run, exact resumption, stops, what is written."""

import dataclasses
import json

import pytest
import torch

from happyhorse.errors import ConfigError
from happyhorse.recipes.foal import foal, foal_tiny
from happyhorse.training import checkpoint
from happyhorse.training.loop import shape_at, time_left, train_loop
from happyhorse.training.stop import DONE, INTERRUPTED, TIME_IS_UP, Stop
from happyhorse.types import Text

GOLDEN = (7.463270, 1.427705, 4.177906, 2.832055, 3.425633)
"""Losses of the first steps. A change of the model, the noise or the optimiser changes them: then say so in the log."""


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder):
    return [record["loss"] for record in records(folder)]


class StopAt(Stop):
    """Asks for a stop once ``steps`` steps were reported."""

    def __init__(self, lines, steps):
        super().__init__()
        self.lines, self.steps = lines, steps

    def reason(self):
        return INTERRUPTED if len(self.lines) >= self.steps else None


def test_first_losses_are_golden(tmp_path, make_job):
    job, state = make_job(tmp_path)
    assert train_loop(job, state) == DONE
    assert losses(tmp_path)[:5] == pytest.approx(GOLDEN, rel=1e-3)


def test_resumed_run_is_the_uninterrupted_run(tmp_path, make_job):
    whole, whole_state = make_job(tmp_path / "whole")
    train_loop(whole, whole_state)

    lines = []
    job, state = make_job(tmp_path / "parts", stop=StopAt(lines, 4), lines=lines)
    assert train_loop(job, state) == INTERRUPTED
    job, state = make_job(tmp_path / "parts")
    assert checkpoint.restore(job.folder, state, job.config.fingerprint)
    assert state.step == 5
    assert train_loop(job, state) == DONE

    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for ours, theirs in zip(state.model.parameters(), whole_state.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(state.average.values, whole_state.average.values, strict=True):
        assert torch.equal(ours, theirs)


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path, make_job):
    """A kill leaves the checkpoint of step 3; the steps after it are simply done again."""
    whole, whole_state = make_job(tmp_path / "whole")
    train_loop(whole, whole_state)

    lines = []
    job, state = make_job(tmp_path / "killed", lines=lines)

    def dies(line):
        lines.append(line)
        if len(lines) == 5:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        train_loop(dataclasses.replace(job, report=dies), state)
    job, state = make_job(tmp_path / "killed")
    assert checkpoint.restore(job.folder, state, job.config.fingerprint)
    assert state.step == 3
    train_loop(job, state)
    assert losses(tmp_path / "killed")[-5:] == losses(tmp_path / "whole")[-5:]


def test_time_limit_stops_resumably(tmp_path, make_job):
    job, state = make_job(tmp_path, stop=Stop(minutes=0))
    assert train_loop(job, state) == TIME_IS_UP
    assert state.step == 0


def test_loss_falls(tmp_path, make_job):
    base = foal_tiny()
    stage = base.stages[0].replace(steps=60, batch=16)
    optimizer = base.optimizer.replace(learning_rate=1e-2)
    config = base.replace(stages=(stage,), optimizer=optimizer, log_every=10, checkpoint_every=0)
    job, state = make_job(tmp_path, config)
    train_loop(job, state)
    assert losses(tmp_path)[-1] < 0.7 * losses(tmp_path)[0]


def test_a_loss_that_is_not_a_number_ends_the_run_without_a_checkpoint(tmp_path, make_job):
    job, state = make_job(tmp_path)
    with torch.no_grad():
        state.model.final_linear_video.weight.fill_(float("nan"))
    with pytest.raises(ConfigError, match="not a number at step 1"):
        train_loop(job, state)
    assert not checkpoint.checkpoints(tmp_path)


def test_log_holds_loss_by_modality_and_noise_level(tmp_path, make_job):
    job, state = make_job(tmp_path)
    train_loop(job, state)
    first = records(tmp_path)[0]
    assert {f"{m}_{bucket}" for m in ("video", "audio") for bucket in range(4)} <= set(first)
    assert first["samples_per_second"] > 0


def test_stages_follow_one_another():
    config = foal()
    first, second = config.stages[0], config.stages[1]
    assert shape_at(config, first.steps - 1) == (first.shapes[0], first.batch)
    last = {shape_at(config, step) for step in range(first.steps, first.steps + 100)}
    assert last == {(shape, second.samples(shape)) for shape in second.shapes}


def test_time_left_counts_tokens_of_the_remaining_steps():
    config = foal_tiny()
    everything = time_left(config, 0, 1.0)
    # 0.5 s at 32 x 32: 4 latent frames of one token, 13 audio latents; at 64 x 32 twice the video tokens
    assert everything == pytest.approx(4 * 4 * 17 + 4 * 2 * (17 + 21) / 2)
    assert time_left(config, config.steps - 1, 1.0) == pytest.approx(2 * (17 + 21) / 2)


def test_text_is_padded_to_a_multiple():
    text = Text(torch.ones(2, 5, dtype=torch.long), torch.tensor([5, 2])).padded(4)
    assert text.values.shape == (2, 8)
    assert text.lengths.tolist() == [5, 2]
    assert text.values[:, 5:].eq(0).all()
