"""A model's clips as they are brought: a folder with ``prompts.jsonl``, or with clips that carry their recipes.

A line of prompts.jsonl is ``{"file": ..., "prompt": ..., "category": ..., "board": ...}``, and ``"image"`` on the board
image-to-video; files are named from the folder. What a line leaves out is taken from the clip's recipe.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from happyhorse.arena.clips import SUFFIXES
from happyhorse.arena.names import BOARDS, CATEGORIES, IMAGE, TEXT, check_board, check_category
from happyhorse.clip import read_recipe
from happyhorse.codecs.images import require_file
from happyhorse.errors import ConfigError, HappyhorseError, MediaError, PromptError

PROMPTS = "prompts.jsonl"
FIELDS = ("file", "prompt", "category", "board", "image")
CLIPS_MAX = 10_000
PROMPT_MAX = 10_000
"""Characters."""
_BYTES_MAX = 2**28


@dataclasses.dataclass(frozen=True)
class Submission:
    """One clip, and what it was made from."""

    path: Path
    prompt: str
    """As ``tidy`` makes it, so that the same prompt is the same."""
    board: str
    category: str
    image: Path | None
    """The first frame that was given; only on the board image-to-video."""


def read_submissions(folder: Path, category: str | None = None) -> list[Submission]:
    """The clips of a folder; ``category`` is that of clips which prompts.jsonl gives none.

    Raises MediaError, ConfigError or PromptError, which name the file or line and what is amiss.
    """
    if not folder.is_dir():
        raise MediaError(f"the folder {folder} does not exist; give one with clips and {PROMPTS}")
    if category is not None:
        check_category(category)
    found = [_submission(folder, values, where, category) for where, values in _rows(folder)]
    if not 0 < len(found) <= CLIPS_MAX:
        raise MediaError(f"{folder} holds {len(found)} clips; the limits are 1 to {CLIPS_MAX}")
    return found


def _rows(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    path = folder / PROMPTS
    if not path.exists():
        files = sorted(file.name for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        yield from ((str(folder / name), {"file": name}) for name in files)
        return
    require_file(path, _BYTES_MAX)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MediaError(f"{path} is not readable as text in UTF-8") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, _row(where, line)


def _row(where: str, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{where} is not JSON ({error}); it must be an object with {', '.join(FIELDS)}") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise MediaError(f"{where} is not an object of texts; give {', '.join(FIELDS)}")
    if unknown := sorted(set(values) - set(FIELDS)):
        raise MediaError(f"{where} has the unknown field {unknown[0]}; the fields are {', '.join(FIELDS)}")
    if "file" not in values:
        raise MediaError(f"{where} has no field file; it names the clip")
    return values


def _submission(folder: Path, values: Mapping[str, str], where: str, category: str | None) -> Submission:
    path = _inside(folder, values["file"], where)
    recipe = {} if {"prompt", "board"} <= set(values) else _recipe(path, where)
    board = values.get("board") or (IMAGE if recipe.get("image") else TEXT)
    kind = values.get("category") or category
    if kind is None:
        raise ConfigError(f"{where} has no category; add one to it, or give one for all: {', '.join(CATEGORIES)}")
    try:
        check_board(board)
        check_category(kind)
        prompt = tidy(values.get("prompt") or recipe.get("prompt"))
    except HappyhorseError as error:
        raise type(error)(f"{where}: {error}") from error
    return Submission(path, prompt, board, kind, _image(folder, values, recipe, board, where))


def _recipe(path: Path, where: str) -> dict[str, Any]:
    """What made our own clip from a prompt. Clips around a given film or sound are of no board."""
    try:
        recipe = read_recipe(path)
    except MediaError as error:
        raise MediaError(
            f"{where} has no recipe to tell its prompt and board ({error}); name both in {PROMPTS}"
        ) from error
    for given in ("video", "audio", "last_image"):
        if recipe.get(given):
            raise MediaError(f"{where} was made around a given {given}; the boards are {' and '.join(BOARDS)}")
    return recipe


def _image(folder: Path, values: Mapping[str, str], recipe: Mapping[str, Any], board: str, where: str) -> Path | None:
    if board == TEXT:
        if "image" in values:
            raise MediaError(f"{where} has an image on the board {TEXT}; take it away, or set board to {IMAGE}")
        return None
    if "image" in values:
        return _inside(folder, values["image"], where)
    given = recipe.get("image")
    name = Path(str(given.get("path"))).name if isinstance(given, dict) and given.get("path") else None
    if name and (folder / name).is_file():
        return folder / name
    wanted = f": put {name} beside the clip, or name it there" if name else ""
    raise MediaError(
        f"{where} has no image, which the board {IMAGE} shows beside the clips; add it to {PROMPTS}{wanted}"
    )


def _inside(folder: Path, name: str, where: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise MediaError(f"{where} names {name[:80]!r}; files are named from {folder}, and lie in it")
    return folder / name


def tidy(prompt: object) -> str:
    """A prompt with single spaces, in Unicode's form NFC. Raises PromptError if there is none, or it is too long."""
    found = " ".join(unicodedata.normalize("NFC", str(prompt or "")).split())
    if not found:
        raise PromptError("the prompt is empty; give what the clip was made from")
    if len(found) > PROMPT_MAX:
        raise PromptError(f"the prompt has {len(found)} characters; the limit is {PROMPT_MAX}")
    return found
