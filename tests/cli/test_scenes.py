from happyhorse.cli.main import run
from happyhorse.data.scenes.world import FAMILIES


def test_the_list_names_every_family_and_value(capsys):
    assert run(["scenes", "--list"]) == 0
    shown = capsys.readouterr().out
    for family in FAMILIES.values():
        assert family.name in shown
        assert all(name in shown for name in family.attributes)


def test_a_preview_is_a_sheet_clips_and_an_index(tmp_path, capsys):
    folder = tmp_path / "new" / "preview"
    arguments = ["--per-family", "1", "--size", "64x64", "--seconds", "0.5"]
    assert run(["scenes", "--preview", str(folder), *arguments]) == 0
    assert len(list(folder.glob("*.mp4"))) == len(FAMILIES)
    assert len(list(folder.glob("*.png"))) == 1
    assert (folder / "index.txt").read_text()


def test_previews_that_are_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for arguments, words in (
        ([str(tmp_path / "file")], "is a file, not a folder"),
        ([str(tmp_path / "file" / "below")], "could not be written"),
        ([str(tmp_path / "p"), "--size", "100x100"], "multiples of 32"),
    ):
        assert run(["scenes", "--preview", *arguments]) == 2
        assert words in capsys.readouterr().err
