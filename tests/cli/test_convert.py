import re

import pytest
import torch

from happyhorse.cli.convert import BytesProgress, convert_model
from happyhorse.config import ModelConfig
from happyhorse.errors import ConfigError, OutputError, WeightsError
from happyhorse.model.transformer import Transformer
from happyhorse.weights.convert import open_converted
from happyhorse.weights.store import save_module

SMALL = ModelConfig(hidden=32, head_dim=8, query_heads=2, kv_heads=1, shared=1)


@pytest.fixture
def weights(tmp_path):
    save_module(Transformer(SMALL), tmp_path / "base.safetensors", torch.float32)
    return tmp_path / "base.safetensors"


def test_one_line_says_what_was_done(weights, tmp_path, capsys):
    convert_model(weights, tmp_path / "out", "int8")
    said, noted = capsys.readouterr()
    pattern = r"\S+/out  int8, (\d+\.\d\d) MB -> (\d+\.\d\d) MB in 1 file, \d+\.\d s\n"
    match = re.fullmatch(pattern, said)
    assert match and float(match[1]) > float(match[2]) > 0
    assert noted == "", "no bar where nobody looks"
    assert open_converted(tmp_path / "out") == (SMALL, "int8")


def test_what_cannot_be_done_is_an_error_of_ours(weights, tmp_path):
    with pytest.raises(WeightsError, match="no format 'int3'"):
        convert_model(weights, tmp_path / "out", "int3")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        convert_model(tmp_path / "gone", tmp_path / "out", "int8")
    with pytest.raises(OutputError, match="exists"):
        convert_model(weights, tmp_path, "int8")
    with pytest.raises(ConfigError, match="cannot be used here"):
        convert_model(weights, tmp_path / "out", "int8", device="nonsense")


def test_a_bar_is_drawn_on_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with BytesProgress("converting") as progress:
        progress(1, 4)
        progress(3, 4)
        task = progress._bars.tasks[0]
        assert (task.completed, task.total, task.description) == (3, 4, "converting")
