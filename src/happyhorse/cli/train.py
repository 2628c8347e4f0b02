"""``happyhorse train``: runs a training recipe."""

from __future__ import annotations

from pathlib import Path


def train_recipe(
    name: str, out: Path | None, resume: bool, device: str | None, minutes: float | None, init: Path | None
) -> int:
    """Trains the recipe ``name`` into ``out`` and returns the exit code."""
    from happyhorse.errors import ConfigError
    from happyhorse.recipes.codec import codec_recipes
    from happyhorse.recipes.ear import ear_recipes
    from happyhorse.recipes.superres import superres_recipes

    folder = out or Path("runs") / name
    if init and name in {**codec_recipes(), **ear_recipes(), **superres_recipes()}:
        raise ConfigError(f"--init gives a generator weights to start from; {name} begins as its recipe says")
    if name in codec_recipes():
        from happyhorse.training.codec import train_codecs

        return train_codecs(codec_recipes()[name](), folder, minutes)
    if name in ear_recipes():
        from happyhorse.training.ear import train_ear

        return train_ear(ear_recipes()[name](), folder, minutes)
    if name in superres_recipes():
        from happyhorse.training.superres import train_superres

        return train_superres(superres_recipes()[name](), folder, minutes, device)
    from happyhorse.training.run import train

    return train(name, folder, resume=resume, device=device, minutes=minutes, init=init) or 0
