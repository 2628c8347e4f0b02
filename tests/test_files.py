import errno
import os

import pytest

from happyhorse.errors import OutputError
from happyhorse.files import check_output, whole_file


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert leftovers(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, interruption):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(interruption), whole_file(path) as temporary:
        temporary.write_text("new, but only h")
        raise interruption
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.txt"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, disk_of):
    with pytest.raises(OutputError, match="no space left"), disk_of(100), whole_file(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(bytes(1000))
    assert leftovers(tmp_path) == []


def test_no_space_when_the_name_is_changed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="no space left"), whole_file(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"x")
    assert leftovers(tmp_path) == []


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputError, match="exists.*overwrit"):
        check_output(path)
    check_output(path, overwrite=True)


def test_places_that_cannot_hold_a_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="does not exist.*mkdir"):
        check_output(tmp_path / "missing" / "a.mp4")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        check_output(tmp_path / "file" / "a.mp4")
    with pytest.raises(OutputError, match="does not exist"):
        check_output(tmp_path / "file" / "below" / "a.mp4")
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="not writable"):
        check_output(tmp_path / "a.mp4")


def test_a_name_too_long_is_an_output_error(tmp_path):
    with pytest.raises(OutputError, match="255 bytes"), whole_file(tmp_path / ("x" * 300 + ".mp4")) as temporary:
        temporary.write_bytes(b"x")
    assert leftovers(tmp_path) == []
