import pytest

from happyhorse.arena.names import check_board, check_category, check_model
from happyhorse.errors import ConfigError


def test_names_that_are_good():
    assert check_model("LTX-2.3_turbo+lora") == "LTX-2.3_turbo+lora"
    assert check_board("image-to-video") == "image-to-video"
    assert check_category("portrait-and-dialogue") == "portrait-and-dialogue"


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "two words", "x" * 65, "a\n", None, 7])
def test_names_that_are_refused(name):
    with pytest.raises(ConfigError, match="cannot name a model; begin with a letter or digit"):
        check_model(name)


def test_boards_and_categories_are_listed_when_missed():
    with pytest.raises(ConfigError, match="'text' is no board; choose one of text-to-video, image-to-video"):
        check_board("text")
    with pytest.raises(ConfigError, match="choose one of portrait-and-dialogue, foley, ambience, motion, abstract"):
        check_category(None)
