from happyhorse.cli.main import run


def test_an_unknown_recipe_lists_the_known_ones(tmp_path, capsys):
    assert run(["train", "pony", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "pony" in said
    assert all(name in said for name in ("foal", "foal-codec", "foal-asr"))
