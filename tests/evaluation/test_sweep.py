"""Points of a sweep: read from reports, told as a table, plotted."""

import json

import pytest

from happyhorse.errors import MediaError
from happyhorse.evaluation.page import write_sweep
from happyhorse.evaluation.plots import sweep_plot
from happyhorse.evaluation.sweep import markdown, read_point


def write(path, steps, value):
    line = {"row": "model", "metric": "foley", "split": "all", "value": value, "low": value - 0.1, "high": value + 0.1}
    real = {**line, "row": "real", "value": 1.0}
    facts = {"steps": steps, "guidance": [2.5, 3.0], "seconds to make a clip (median)": steps / 2}
    path.write_text(json.dumps({"facts": facts, "headline": [real, line]}), "utf-8")
    return path


def test_points_become_a_table_and_a_page(tmp_path):
    points = [read_point(write(tmp_path / f"{steps}.json", steps, value)) for steps, value in ((5, 0.5), (10, 0.75))]
    assert markdown(points).splitlines() == [
        "| steps | guidance | s per clip | foley |",
        "| --- | --- | --- | --- |",
        "| 5 | 2.5 3 | 2.5 | 0.5 [0.4, 0.6] |",
        "| 10 | 2.5 3 | 5.0 | 0.75 [0.65, 0.85] |",
    ]
    write_sweep(tmp_path / "sweep.html", "a < b", points, sweep_plot(points))
    page = (tmp_path / "sweep.html").read_text("utf-8")
    assert "<svg" in page and "0.75 [0.65, 0.85]" in page and "a &lt; b" in page and "guidance 2.5 3" in page


def test_what_is_no_report_of_a_model_is_refused(tmp_path):
    (tmp_path / "clips.json").write_text(json.dumps({"facts": {"clips": "x"}, "headline": []}), "utf-8")
    with pytest.raises(MediaError, match="not a report of a model"):
        read_point(tmp_path / "clips.json")
    with pytest.raises(MediaError, match="not found"):
        read_point(tmp_path / "none.json")
