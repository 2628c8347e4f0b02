"""``happyhorse train`` and ``happyhorse distill``: run a recipe."""

from __future__ import annotations

from pathlib import Path

from happyhorse.cli.main import say


def train_recipe(
    name: str, out: Path | None, resume: bool, device: str | None, minutes: float | None, init: Path | None
) -> int:
    """Trains the recipe ``name`` into ``out`` and returns the exit code."""
    from happyhorse.errors import ConfigError
    from happyhorse.recipes.codec import codec_recipes, picture_recipes
    from happyhorse.recipes.ear import ear_recipes
    from happyhorse.recipes.superres import superres_recipes

    folder = out or Path("runs") / name
    if init and name in {**codec_recipes(), **picture_recipes(), **ear_recipes(), **superres_recipes()}:
        raise ConfigError(f"--init gives a generator weights to start from; {name} begins as its recipe says")
    if name in codec_recipes():
        from happyhorse.training.codec import train_codecs

        return train_codecs(codec_recipes()[name](), folder, minutes)
    if name in picture_recipes():
        from happyhorse.training.codec import train_picture

        return train_picture(picture_recipes()[name](), folder, minutes)
    if name in ear_recipes():
        from happyhorse.training.ear import train_ear

        return train_ear(ear_recipes()[name](), folder, minutes)
    if name in superres_recipes():
        from happyhorse.training.superres import train_superres

        return train_superres(superres_recipes()[name](), folder, minutes, device)
    from happyhorse.training.run import train

    return train(name, folder, resume=resume, device=device, minutes=minutes, init=init) or 0


def distill_recipe(name: str, out: Path | None, resume: bool, device: str | None, minutes: float | None) -> int:
    """Distils by the recipe ``name`` into ``out`` and returns the exit code."""
    from happyhorse.cli.evaluate import missing_tools
    from happyhorse.distillation.run import distill
    from happyhorse.recipes.distill import distill_recipes

    watch = None
    if missing := missing_tools():
        say(f"note: {', '.join(missing)} missing, so candidates are not listened to: pip install 'happyhorse[eval]'")
    elif name in distill_recipes():
        from happyhorse.evaluation.alarms import Alarms

        watch = Alarms.of(distill_recipes()[name]())
    folder = out or Path("runs") / f"{name}-distilled"
    return distill(name, folder, resume=resume, device=device, minutes=minutes, watch=watch)
