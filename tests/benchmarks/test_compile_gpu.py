"""The benchmark for a GPU runs from end to end in miniature."""

import importlib
import sys

import pytest
import torch

WAYS = ["eager", "block", "full", "block, CUDA graph", "block, laid out", "block, fp8"]


@pytest.fixture
def bench(benchmarks):
    return importlib.import_module("compile_gpu")


def measured(bench, figure):
    found = bench.Bench(torch.device("cpu"), repeats=1)
    with torch.inference_mode():
        bench.MEASURES[figure](found, bench.toy())
    failed = [row for row in found.rows if "Error" in row.note or not row.seconds]
    assert not failed
    assert {row.figure for row in found.rows} == {figure}
    return {row.what: row for row in found.rows}


def test_ceilings(bench):
    rows = measured(bench, "ceilings")
    assert {"bf16", "int8", "fp8"} <= {what.split(",")[0] for what in rows}
    assert rows["one grouped product"].flops == rows["a product for each modality"].flops


def test_attention(bench):
    rows = measured(bench, "attention")
    assert rows["windows, range"].flops < rows["render, range"].flops
    assert all("error" in row.note for row in rows.values())


@pytest.mark.parametrize(
    ("figure", "more"), [("slice", ["eager", "block", "block, laid out", "block, fp8"]), ("foal", [])]
)
def test_steps(bench, figure, more):
    rows = measured(bench, figure)
    assert list(rows) == [*WAYS, *(f"1080p, {way}" for way in more)]
    assert "launches, error" in rows["full"].note


def test_whole(bench):
    rows = measured(bench, "whole")
    assert {"preview, fp8", "1080p, block", "1080p, eager: a pass"} <= set(rows)
    assert rows["preview, block"].flops == 8 * rows["preview, block: a pass"].flops
    assert "wanted 1.1 s" in rows["preview, laid out"].note


def test_start_is_measured_in_processes_of_their_own(bench):
    assert list(measured(bench, "start")) == ["empty cache", "the same cache again"]


def test_what_fails_is_a_line_and_the_rest_goes_on(bench):
    found = bench.Bench(torch.device("cpu"), repeats=1)

    def fail():
        raise torch.cuda.OutOfMemoryError("it is too large\nby far")

    assert found.time("whole", "a render", fail) is None
    assert found.time("whole", "a preview", lambda: 7) == 7
    first, second = found.rows
    assert (first.seconds, first.note) == (0.0, "OutOfMemoryError: it is too large")
    assert second.seconds > 0


def test_the_command_writes_its_table(bench, tmp_path, monkeypatch, capsys):
    out = tmp_path / "table.md"
    monkeypatch.setattr(sys, "argv", ["compile_gpu.py", "--toy", "--only", "ceilings", "--out", str(out)])
    bench.main()
    assert out.read_text() in capsys.readouterr().out
    assert torch.__version__ in out.read_text()


def test_without_a_gpu_there_is_a_way_out(bench, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["compile_gpu.py"])
    with pytest.raises(SystemExit, match="--toy"):
        bench.main()
