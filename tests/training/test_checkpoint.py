"""Checkpoints on disk: whole, few, and checked. (That they resume exactly is shown in test_loop.)"""

import pytest

from happyhorse.errors import ConfigError, WeightsError
from happyhorse.training import checkpoint


def test_only_the_newest_two_are_kept(tmp_path, make_job):
    _, state = make_job(tmp_path)
    for step in (1, 2, 10):
        state.step = step
        checkpoint.save(tmp_path, state, "same")
    assert [path.name for path in checkpoint.checkpoints(tmp_path)] == [
        "checkpoint-00000002.pt",
        "checkpoint-00000010.pt",
    ]
    _, fresh = make_job(tmp_path)
    assert checkpoint.restore(tmp_path, fresh, "same") and fresh.step == 10


def test_an_interrupted_save_leaves_the_older_checkpoint_and_no_other_file(tmp_path, make_job, monkeypatch):
    _, state = make_job(tmp_path)
    checkpoint.save(tmp_path, state, "same")

    def interrupted(values, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.torch, "save", interrupted)
    state.step = 5
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, state, "same")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000000.pt"]


def test_nothing_to_restore(tmp_path, make_job):
    _, state = make_job(tmp_path)
    assert not checkpoint.restore(tmp_path, state, "any")


def test_another_recipe_is_refused(tmp_path, make_job):
    _, state = make_job(tmp_path)
    checkpoint.save(tmp_path, state, "one")
    with pytest.raises(ConfigError, match="another recipe"):
        checkpoint.restore(tmp_path, state, "two")


def test_a_damaged_checkpoint_is_named(tmp_path, make_job):
    _, state = make_job(tmp_path)
    path = checkpoint.save(tmp_path, state, "same")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=path.name):
        checkpoint.restore(tmp_path, state, "same")
