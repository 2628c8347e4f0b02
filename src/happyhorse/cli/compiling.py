"""``--compile``: what is asked of the compiler, and what a person is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from happyhorse.cli.main import say
from happyhorse.compile.spec import CompileSpec
from happyhorse.sampling.compiled import Compiling


def make_compiling(model: Any, option: str | None, recipe: Mapping[str, Any], clips: int) -> Compiling:
    """What decides whether the model is compiled: as asked, else as the clip to be repeated was made, else "auto".

    ``recipe`` is that of the clip to be repeated, empty if none is. Raises ConfigError if it or ``option`` names no way
    of compiling.
    """
    asked, spec = option or "auto", None
    if option is None and recipe:
        made = recipe.get("compile")
        asked, spec = ("auto", CompileSpec.from_dict(made)) if made else ("off", None)
    # Of a model that runs as it is, as it does by default, nothing needs to be said.
    tell_eager = asked != "off" and (option is not None or spec is not None)
    return Compiling(model, asked, clips=clips, spec=spec, tell=_tell, tell_eager=tell_eager)


def _tell(line: str) -> None:
    say(f"note: {line}" + (" (--compile off: without it)" if line.startswith("compil") else ""))
