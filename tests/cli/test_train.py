from happyhorse.cli.main import run


def test_an_unknown_recipe_lists_the_known_ones(tmp_path, capsys):
    assert run(["train", "pony", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "pony" in said
    assert all(name in said for name in ("foal", "foal-codec", "foal-asr"))


def test_weights_to_start_from_are_refused_before_anything_long(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run"), "--init", str(tmp_path / "none.safetensors")]
    assert run(["train", "foal-reading", *out]) == 2
    assert "none.safetensors does not exist" in capsys.readouterr().err
    assert run(["train", "foal-asr", *out]) == 2
    assert "foal-asr begins as its recipe says" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
