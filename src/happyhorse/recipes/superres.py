"""Super-resolution: ``happyhorse train foal-superres``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from happyhorse.config import Config, ModelConfig
from happyhorse.config import foal as foal_model
from happyhorse.recipes.codec import Fit
from happyhorse.sampling.superres import Enlarging


@dataclasses.dataclass(frozen=True)
class Window(Config):
    """A part of a clip that a step is trained on."""

    frames: int
    """Latent frames."""
    side: int
    """Latent rows and columns."""
    batch: int
    """Windows in a step."""


@dataclasses.dataclass(frozen=True)
class SuperresConfig(Config):
    """One run."""

    name: str
    """The recipe's name."""
    model: ModelConfig
    """The model."""
    init: str | None
    """A model whose weights it begins with."""
    enlarging: Enlarging
    """How previews are enlarged."""
    clips: int
    """Scenes, each drawn as a preview and at the size of the render."""
    seconds: float
    """Their length: the model sees short windows only."""
    side: int
    """Height and width of the previews in pixels."""
    windows: tuple[Window, ...]
    """Kinds of windows, of which each step draws one."""
    fit: Fit
    """Steps and rates."""
    first_frame: float = 0.1
    """Share of the windows at the beginning of a clip whose first frame is given."""
    prompt_dropout: float = 0.1
    """Share of the windows that see the null prompt."""
    seed: int = 0
    """Seed of the scenes, the windows and the noise."""
    compile: bool = False
    """Compile the blocks."""


def foal_superres() -> SuperresConfig:
    """From 128 to 512 px: the base model's weights go on with local attention, on crops of 256 px over six latent
    frames and on whole pictures over two."""
    layers = tuple(range(foal_model().layers))
    return SuperresConfig(
        name="foal-superres",
        model=foal_model(local_layers=layers, receptive_field=1),
        init="foal-base",
        enlarging=Enlarging(source="picture", kept=0.97),
        clips=480,
        seconds=1.0,
        side=128,
        windows=(Window(6, 16, 9), Window(6, 16, 9), Window(2, 32, 7)),
        fit=Fit(2000, learning_rate=4e-3, kind="muon", log_every=50, checkpoint_every=250),
        compile=True,
    )


def foal_superres_tiny() -> SuperresConfig:
    """A rehearsal of a few steps."""
    return SuperresConfig(
        name="foal-superres-tiny",
        model=foal_model(
            hidden=32, head_dim=16, query_heads=2, kv_heads=1, shared=1, local_layers=(0, 1, 2), receptive_field=1
        ),
        init=None,
        enlarging=Enlarging(scale=2, source="picture"),
        clips=3,
        seconds=0.5,
        side=64,
        windows=(Window(3, 4, 2),),
        fit=Fit(3, log_every=1, checkpoint_every=2),
    )


def superres_recipes() -> dict[str, Callable[[], SuperresConfig]]:
    """Recipes by the names that ``happyhorse train`` takes."""
    return {"foal-superres": foal_superres, "foal-superres-tiny": foal_superres_tiny}
