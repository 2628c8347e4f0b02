"""A roofline picture: how fast each part of a pass runs, under what this machine allows (Williams et al. 2009)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from happyhorse.compile.ceilings import Ceilings
from happyhorse.compile.explain import Part
from happyhorse.errors import MissingToolError
from happyhorse.files import whole_file

COLOURS = ("#c8553d", "#6c8ebf", "#9aa5b1", "#d9a441", "#5f8a57")


def require_plots() -> None:
    """Raises MissingToolError, with the command that mends it, where pictures cannot be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingToolError("the roofline needs matplotlib: pip install 'happyhorse[eval]', or leave out --out")


def roof(ceilings: Ceilings, number_format: str, intensities: Sequence[float]) -> list[float]:
    """The most operations a second at so many operations for each byte: the memory's slope, then the products' flat."""
    return [min(at * ceilings.bandwidth, ceilings.matmul[number_format]) for at in intensities]


def write_roofline(path: Path, title: str, parts: Sequence[Part], ceilings: Ceilings, overwrite: bool = True) -> None:
    """Writes the picture as PNG: parts as points whose area is their time. Raises OutputError, MissingToolError."""
    require_plots()
    import matplotlib

    matplotlib.use("Agg")  # no window is ever opened; must come before pyplot
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    shown = [part for part in parts if part.flops and part.moved and part.seconds]
    _draw_roofs(axes, ceilings, [part.intensity for part in shown])
    _draw_parts(axes, shown)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte read or written")
    axes.set_ylabel("operations a second, in thousand millions")
    axes.set_title(f"{title}\n{ceilings.where}", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    with whole_file(path, overwrite) as temporary:
        figure.savefig(temporary, format="png", dpi=150, bbox_inches="tight")
    plt.close(figure)


def _draw_roofs(axes: Any, ceilings: Ceilings, intensities: Sequence[float]) -> None:
    low, high = min([0.05, *intensities]) / 2, 4 * max(ceilings.ridge(name) for name in ceilings.matmul)
    high = max([high, *(2 * at for at in intensities)])
    for name, ceiling in ceilings.matmul.items():
        places = [low, ceilings.ridge(name), high]
        axes.plot(places, [value / 1e9 for value in roof(ceilings, name, places)], color="#444", linewidth=1)
        axes.annotate(f"{name} {ceiling / 1e9:.0f}", (high, ceiling / 1e9), fontsize=8, ha="right", va="bottom")


def _draw_parts(axes: Any, parts: Sequence[Part]) -> None:
    whole = sum(part.seconds for part in parts) or 1.0
    for index, part in enumerate(parts):
        label = f"{part.name}: {1e3 * part.seconds:.1f} ms, {part.seconds / whole:.0%}"
        area, colour = 40 + 600 * part.seconds / whole, COLOURS[index % len(COLOURS)]
        axes.scatter([part.intensity], [part.rate / 1e9], s=area, color=colour, alpha=0.8, edgecolors="none")
        axes.scatter([], [], s=40, color=colour, label=label)
