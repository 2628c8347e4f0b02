"""``happyhorse prompt``: a short prompt in the form that the large model was trained on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from happyhorse.cli.main import say
from happyhorse.errors import ConfigError
from happyhorse.prompts.endpoint import find_endpoint
from happyhorse.prompts.offline import guessed, without_model
from happyhorse.prompts.rewrite import rewrite as rewrite_by_model
from happyhorse.prompts.structure import StructuredPrompt, compose, problems


def write_prompt(
    short: str, rewrite: bool, url: str | None, model: str | None, image: Path | None, as_json: bool
) -> None:
    """Prints the prompt to stdout, or one JSON line of it and its parts, and what to mend of it as notes to stderr.

    Without ``rewrite`` nothing is sent anywhere, and ``url``, ``model`` and ``image`` are refused (ConfigError).
    """
    if rewrite:
        prompt = rewrite_by_model(short, find_endpoint(url, model), image)
        notes = problems(prompt)
    else:
        _refuse_unused(url, model, image)
        prompt = without_model(short)
        notes = [*_guesses(short, prompt), *problems(prompt)]
    print(_as_json(prompt, notes) if as_json else compose(prompt))
    for note in notes:
        say(f"note: {note}")


def _refuse_unused(url: str | None, model: str | None, image: Path | None) -> None:
    unused = [name for name, value in (("--url", url), ("--model", model), ("--image", image)) if value is not None]
    if unused:
        raise ConfigError(f"{' and '.join(unused)} is for a language model: add --rewrite, or leave it out")


def _guesses(short: str, prompt: StructuredPrompt) -> list[str]:
    """One note for each language that was guessed of lines."""
    lines = guessed(short, prompt)
    return [
        f"taken to be {language}: {', '.join(said)}; if not, say so next to the line (in French)"
        for language in dict.fromkeys(line.language for line in lines)
        if (said := [f'"{line.text}"' for line in lines if line.language == language])
    ]


def _as_json(prompt: StructuredPrompt, notes: list[str]) -> str:
    parts = {"prompt": compose(prompt), **dataclasses.asdict(prompt), "notes": notes}
    return json.dumps(parts, ensure_ascii=False)
