"""``happyhorse scenes``: the foal's world, listed or drawn."""

from __future__ import annotations

from pathlib import Path

from happyhorse.cli.main import say
from happyhorse.errors import OutputError, SizeError
from happyhorse.files import output_error
from happyhorse.sampling.request import parse_size

SIDE_MAX = 1024


def list_scenes() -> None:
    """Prints the families and everything that prompts can name."""
    from happyhorse.data.preview import describe_world

    print(describe_world())


def preview_scenes(folder: Path, per_family: int, seed: int, size: str, seconds: float) -> None:
    """Draws scenes into ``folder``: a contact sheet, clips, and an index of prompts."""
    from happyhorse.data.preview import write_preview

    width, height = parse_size(size)
    if width % 32 or height % 32 or max(width, height) > SIDE_MAX:
        raise SizeError(f"{size} cannot be previewed; give multiples of 32 px up to {SIDE_MAX}, such as 128x128")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file, not a folder; choose another")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_preview(folder, per_family, seed, height, width, seconds)
    except OSError as error:
        raise output_error(folder, error) from error
    say(f"written to {folder}")
