"""Records come back as they were kept, and only for what they were made from."""

import numpy as np
import pytest

from happyhorse.errors import OutputError
from happyhorse.evaluation.record import Record, Records, Row, code_fingerprint, fingerprint
from happyhorse.evaluation.tally import Reading

ROW = Row((Reading("ball", "F1", "all", 1.0, 2.0),), {"colour (picture)": "red"}, (0.01, -0.002), {"ear": "你好"})
RECORD = Record({"model": ROW}, {"model/picture": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"ball-00": "why"})


def test_a_record_comes_back(tmp_path):
    Records(tmp_path).put("ball-00", "abc", RECORD)
    found = Records(tmp_path).get("ball-00", "abc")
    assert found and found.rows == RECORD.rows and found.skipped == RECORD.skipped
    np.testing.assert_array_equal(found.features["model/picture"], RECORD.features["model/picture"])


def test_a_record_of_something_else_is_not_used(tmp_path):
    records = Records(tmp_path)
    records.put("ball-00", "abc", RECORD)
    assert records.get("ball-00", "abd") is None and records.get("ball-01", "abc") is None


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_damaged_record_is_not_used(tmp_path, suffix):
    records = Records(tmp_path)
    records.put("ball-00", "abc", RECORD)
    path = tmp_path / f"ball-00{suffix}"
    path.write_bytes(path.read_bytes()[:40])
    assert records.get("ball-00", "abc") is None


def test_files_of_two_runs_are_not_mixed(tmp_path):
    records = Records(tmp_path)
    records.put("ball-00", "abc", RECORD)
    old = (tmp_path / "ball-00.npz").read_bytes()
    records.put("ball-00", "abd", RECORD)
    (tmp_path / "ball-00.npz").write_bytes(old)
    assert records.get("ball-00", "abd") is None


def test_a_folder_that_is_not_there_is_an_error_of_the_user(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        Records(tmp_path / "none").put("ball-00", "abc", RECORD)


def test_fingerprints_differ_with_their_facts():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
    assert len(code_fingerprint()) == 16
