"""What things are called: the boards on which models are rated, the categories of prompts, the models."""

from __future__ import annotations

import re

from happyhorse.errors import ConfigError

TEXT, IMAGE = "text-to-video", "image-to-video"
BOARDS = (TEXT, IMAGE)
CATEGORIES = ("portrait-and-dialogue", "foley", "ambience", "motion", "abstract")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")


def check_board(board: object) -> str:
    """``board`` if there is one of that name, else ConfigError."""
    return one_of("board", board, BOARDS)


def check_category(category: object) -> str:
    """``category`` if there is one of that name, else ConfigError."""
    return one_of("category", category, CATEGORIES)


def check_model(name: object) -> str:
    """``name`` if a model may be called so (it also names a file), else ConfigError."""
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
        raise ConfigError(
            f"{str(name)[:80]!r} cannot name a model; begin with a letter or digit, and take 1 to 64 letters, digits, "
            "dots, plus signs, hyphens and underscores"
        )
    return name


def one_of(what: str, value: object, choices: tuple[str, ...]) -> str:
    """``value`` if it is one of ``choices``, else ConfigError."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{str(value)[:80]!r} is no {what}; choose one of {', '.join(choices)}")
    return value
