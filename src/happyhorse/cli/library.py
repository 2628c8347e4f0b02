"""``happyhorse library``: the clips that can be rendered from what they were decoded from."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from happyhorse.library import Entry, Library


def list_library(folder: Path | None, as_json: bool) -> None:
    """Prints the clips of the library, the newest first."""
    library = Library(folder)
    entries = library.entries()
    if as_json:
        for entry in entries:
            print(json.dumps(facts(entry), ensure_ascii=False))
        return
    if not entries:
        print(f"no clips in {library.folder}; happyhorse generate puts what it makes there")
        return
    table = Table("id", "made", "clip", "prompt", "file", "thumbnail", title=str(library.folder))
    for entry in entries:
        one = facts(entry)
        file = one["path"] + ("" if one["there"] else " (moved)")
        length = f"{one['seconds']:g} s, {one['size']}"
        table.add_row(one["id"], one["made"], length, one["prompt"], file, one["thumbnail"])
    Console(width=None if Console().is_terminal else 200).print(table)


def facts(entry: Entry) -> dict:
    """What is said of a clip."""
    made = datetime.datetime.fromtimestamp(entry.made).isoformat(" ", "seconds")
    asked = {key: entry.recipe.get(key) for key in ("prompt", "seconds", "size", "seed", "model")}
    return {
        "id": entry.name,
        "made": made,
        **asked,
        "path": str(entry.path),
        "there": entry.path.is_file(),
        "thumbnail": str(entry.thumbnail),
    }
