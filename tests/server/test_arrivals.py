import pytest

from happyhorse.errors import OutputError
from happyhorse.server.arrivals import arriving


def test_a_file_that_arrives_whole_stays(tmp_path):
    with arriving(tmp_path, "x-") as arrival:
        arrival.write(b"one")
        arrival.write(b" two")
    assert (arrival.path.read_bytes(), arrival.bytes) == (b"one two", 7)
    assert arrival.path.parent == tmp_path and arrival.path.name.startswith("x-")
    assert arrival.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_a_file_that_does_not_is_removed(tmp_path, interruption):
    with pytest.raises(interruption), arriving(tmp_path, "x-") as arrival:
        arrival.write(b"half")
        raise interruption
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1000, 1_000_000])
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, disk_of, size):
    """Small writes fail when the file is closed, large ones at once."""
    with (
        pytest.raises(OutputError, match="no space left to write the file that was sent;"),
        disk_of(100),
        arriving(tmp_path, "x-") as arrival,
    ):
        arrival.write(bytes(size))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError), arriving(tmp_path / "none", "x-"):
        pass


def test_without_a_folder_the_systems_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with arriving(None, "x-") as arrival:
        arrival.write(b"x")
    assert arrival.path.parent == tmp_path
