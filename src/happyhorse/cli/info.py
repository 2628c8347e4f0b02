"""``happyhorse info``: the recipe that a clip carries."""

from __future__ import annotations

import json
from pathlib import Path

from happyhorse.clip import read_recipe


def print_recipe(path: Path, as_json: bool) -> None:
    """Prints the recipe stored in a clip. Raises MediaError if there is none."""
    recipe = read_recipe(path)
    if as_json:
        print(json.dumps(recipe, ensure_ascii=False))
        return
    width = max(len(key) for key in recipe)
    for key, value in recipe.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        print(f"{key:<{width}}  {shown}")
