import json

import pytest

from happyhorse.arena.submissions import read_submissions
from happyhorse.errors import ConfigError, HappyhorseError, MediaError, PromptError

ROW = {"file": "a.mp4", "prompt": "a red ball", "category": "foley", "board": "text-to-video"}
RECIPE = {"happyhorse": "0.1.0", "prompt": "a  black horse trots", "image": None}


@pytest.fixture
def folder(tmp_path, write_clip):
    """A folder in which rows are laid, with our own clip own.mp4."""
    write_clip(tmp_path / "own.mp4", comment=json.dumps(RECIPE))

    def lay(*rows):
        text = "\n".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
        (tmp_path / "prompts.jsonl").write_text(text, "utf-8")
        return tmp_path

    return lay


def test_lines_are_read(folder):
    image = {**ROW, "file": "sub/b.mp4", "board": "image-to-video", "image": "b.png", "prompt": " 馬が\n走る "}
    first, second = read_submissions(folder(ROW, "", image))
    assert (first.path.name, first.prompt, first.board, first.category, first.image) == (
        "a.mp4",
        "a red ball",
        "text-to-video",
        "foley",
        None,
    )
    assert second.path == folder(ROW).joinpath("sub/b.mp4") and second.image == folder(ROW) / "b.png"
    assert second.prompt == "馬が 走る"


def test_our_own_clips_tell_their_prompt(folder, tmp_path):
    (one,) = read_submissions(folder({"file": "own.mp4", "category": "motion"}))
    assert (one.prompt, one.board, one.category) == ("a black horse trots", "text-to-video", "motion")
    (tmp_path / "prompts.jsonl").unlink()
    assert read_submissions(tmp_path, "motion") == [one]
    with pytest.raises(ConfigError, match=r"own\.mp4 has no category; add one to it, or give one for all: portrait"):
        read_submissions(tmp_path)
    with pytest.raises(ConfigError, match="'talk' is no category"):
        read_submissions(tmp_path, "talk")


def test_our_own_clips_tell_their_image_if_it_lies_beside_them(tmp_path, write_clip):
    recipe = {**RECIPE, "image": {"path": "/elsewhere/start.png", "sha256": "0"}}
    write_clip(tmp_path / "own.mp4", comment=json.dumps(recipe))
    with pytest.raises(MediaError, match=r"own\.mp4 has no image.*: put start\.png beside the clip, or name it there"):
        read_submissions(tmp_path, "foley")
    (tmp_path / "start.png").write_bytes(b"png")
    (one,) = read_submissions(tmp_path, "foley")
    assert one.board == "image-to-video" and one.image == tmp_path / "start.png"


def test_clips_around_a_given_sound_are_of_no_board(tmp_path, write_clip):
    write_clip(tmp_path / "own.mp4", comment=json.dumps({**RECIPE, "audio": {"path": "a.wav"}}))
    with pytest.raises(MediaError, match="was made around a given audio"):
        read_submissions(tmp_path, "foley")


@pytest.mark.parametrize(
    "row, words",
    [
        ("{", r"prompts\.jsonl line 2 is not JSON"),
        ("[1]", r"line 2 is not an object of texts"),
        ({**ROW, "prompt": 7}, "line 2 is not an object of texts"),
        ({**ROW, "seed": "7"}, "line 2 has the unknown field seed; the fields are file, prompt"),
        ({"prompt": "a"}, "line 2 has no field file"),
        ({**ROW, "board": "talk"}, "line 2: 'talk' is no board; choose one of text-to-video"),
        ({**ROW, "category": "talk"}, "line 2: 'talk' is no category"),
        ({**ROW, "file": "../a.mp4"}, "line 2 names '../a.mp4'; files are named from"),
        ({**ROW, "file": "/etc/passwd"}, "line 2 names '/etc/passwd'"),
        ({**ROW, "file": ""}, "line 2 names ''"),
        ({**ROW, "image": "b.png"}, "line 2 has an image on the board text-to-video"),
        ({**ROW, "board": "image-to-video"}, r"line 2 has no image, .*add it to prompts\.jsonl"),
        ({"file": "a.mp4", "category": "foley"}, r"line 2 has no recipe .*was not found.*name both in prompts\.jsonl"),
    ],
)
def test_lines_that_are_refused(folder, row, words):
    with pytest.raises(HappyhorseError, match=words):
        read_submissions(folder(ROW, row))


@pytest.mark.parametrize("prompt, words", [("  ", "the prompt is empty"), ("a" * 10_001, "has 10001 characters")])
def test_prompts_that_are_refused(folder, prompt, words):
    with pytest.raises(PromptError, match=rf"line 1: .*{words}"):
        read_submissions(folder({**ROW, "prompt": prompt}))


def test_folders_that_are_refused(tmp_path, folder):
    with pytest.raises(MediaError, match="does not exist"):
        read_submissions(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="empty holds 0 clips; the limits are 1 to 10000"):
        read_submissions(tmp_path / "empty", "foley")
    folder(ROW)
    (tmp_path / "prompts.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MediaError, match="not readable as text in UTF-8"):
        read_submissions(tmp_path)
