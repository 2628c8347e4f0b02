"""Commands that come in groups: ``happyhorse arena ...`` and ``happyhorse keys ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from happyhorse.cli.main import Debug, stoppable

arena = typer.Typer(help="Judge models blind, two clips at a time.", no_args_is_help=True)
keys = typer.Typer(help="Who may use the service.", no_args_is_help=True)

ArenaFolder = Annotated[
    Path | None, typer.Option("--arena", help="The arena's folder  [default: ~/.local/share/happyhorse/arena]")
]
ServiceFolder = Annotated[
    Path | None, typer.Option("--folder", help="The service's folder  [default: ~/.local/share/happyhorse/service]")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


# ---------------------------------------------------------------------------------------------------------------- arena
@arena.command()
@stoppable
def add(
    name: Annotated[str, typer.Argument(help="What the model is called after a vote.")],
    folder: Annotated[Path, typer.Argument(help="Clips, and prompts.jsonl unless they are our own.")],
    arena: ArenaFolder = None,
    category: Annotated[str | None, typer.Option(help="Of clips that say none themselves.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model's clips.")] = False,
    debug: Debug = False,
) -> None:
    """Enter a model: a folder of clips and what they were asked for."""
    from happyhorse.cli.arena import add_model

    add_model(name, folder, arena, category, overwrite)


@arena.command()
@stoppable
def remove(name: str, arena: ArenaFolder = None, debug: Debug = False) -> None:
    """Take a model out."""
    from happyhorse.cli.arena import remove_model

    remove_model(name, arena)


@arena.command("list")
@stoppable
def list_(arena: ArenaFolder = None, json: Json = False, debug: Debug = False) -> None:
    """List the models that entered."""
    from happyhorse.cli.arena import list_models

    list_models(arena, json)


@arena.command()
@stoppable
def ratings(
    arena: ArenaFolder = None,
    board: Annotated[str, typer.Option(help="text-to-video or image-to-video.")] = "text-to-video",
    category: Annotated[str | None, typer.Option(help="One category alone.")] = None,
    anchor: Annotated[str | None, typer.Option(help="The model whose rating is 1000  [default: the mean]")] = None,
    both_bad: Annotated[str, typer.Option(help='What "both bad" counts as: tie or left-out.')] = "tie",
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Rate the models by the votes."""
    from happyhorse.cli.arena import AskedTable, show_ratings

    show_ratings(arena, AskedTable(board, category, anchor, both_bad, seed, json))


@arena.command()
@stoppable
def export(
    output: Annotated[Path | None, typer.Argument(help="A .jsonl or .csv file  [default: print]")] = None,
    arena: ArenaFolder = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    debug: Debug = False,
) -> None:
    """Write all votes."""
    from happyhorse.cli.arena import export_votes

    export_votes(arena, output, overwrite)


@arena.command("import")
@stoppable
def import_(path: Path, arena: ArenaFolder = None, debug: Debug = False) -> None:
    """Read votes that were written elsewhere."""
    from happyhorse.cli.arena import import_votes

    import_votes(path, arena)


# ----------------------------------------------------------------------------------------------------------------- keys
@keys.command()
@stoppable
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="generate, read, delete, vote, admin; may be repeated")
    ] = None,
    folder: ServiceFolder = None,
    per_minute: Annotated[float | None, typer.Option(help="Requests that cost work, in a minute.")] = None,
    burst: Annotated[int | None, typer.Option(help="Such requests at once.")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Requests at the same time.")] = None,
    days: Annotated[float | None, typer.Option(help="How long it is good for  [default: for ever]")] = None,
    debug: Debug = False,
) -> None:
    """Make an API key; it is shown this once."""
    from happyhorse.cli.serve import create_key

    create_key(
        name,
        scope or ["generate", "read"],
        folder=folder,
        per_minute=per_minute,
        burst=burst,
        concurrent=concurrent,
        days=days,
    )


@keys.command("list")
@stoppable
def list_keys_(folder: ServiceFolder = None, json: Json = False, debug: Debug = False) -> None:
    """List the API keys, without their secrets."""
    from happyhorse.cli.serve import list_keys

    list_keys(folder, json)


@keys.command()
@stoppable
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, as listed.")], folder: ServiceFolder = None, debug: Debug = False
) -> None:
    """End an API key."""
    from happyhorse.cli.serve import revoke_key

    revoke_key(key, folder)
