"""The pieces of a drawing: a sheet of paper, boxes, arrows, small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from ltlib.lesson.figures.figure import COLOURS, new_figure

INK = "#1f2328"
LEARNS = "#cfe6f5"  # a part that training changes
FROZEN = "#e4e4e4"  # a part that stays as it is
DATA = "#fdf1d8"
RESULT = "#d9f0e6"
GRADIENT = COLOURS[3]
CLASS_COLOURS = (COLOURS[0], COLOURS[2], COLOURS[3])  # head, middle, tail: the colours of the groups


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty sheet; one unit of its axes is one inch."""
    figure, (ax,) = new_figure(width, height)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.axis("off")
    return figure, ax


def box(
    ax: Axes, at: tuple[float, float], size: tuple[float, float], text: str, colour: str = "white", **options: Any
) -> None:
    """A rounded box with a text.

    Args:
        ax: the sheet.
        at: its lower left corner.
        size: width and height.
        text: in the middle of it.
        colour: inside.
        options: of the outline, such as ``ls="--"``.
    """
    look: dict[str, Any] = {"fc": colour, "ec": INK, "lw": 1.1} | options
    ax.add_patch(FancyBboxPatch(at, *size, boxstyle="round,pad=0,rounding_size=0.07", **look))
    ax.text(at[0] + size[0] / 2, at[1] + size[1] / 2, text, ha="center", va="center", fontsize=9, color=INK)


def arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    text: str = "",
    bend: float = 0.0,
    above: float = 0.08,
    **options: Any,
) -> None:
    """An arrow, with a text over its middle.

    Args:
        ax: the sheet.
        start, end: its ends.
        text: what goes along it.
        bend: how strongly it curves; 0 is straight.
        above: how far the text is over the middle.
        options: of the arrow, such as ``color`` and ``ls``.
    """
    look: dict[str, Any] = {"color": INK, "lw": 1.3, "arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 1}
    look |= {"shrinkB": 1} | options
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", **look))
    if text:
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above
        ax.text(*middle, text, ha="center", va="bottom", fontsize=8, color=look["color"])


def note(ax: Axes, at: tuple[float, float], text: str, **options: Any) -> None:
    """A text of its own."""
    look: dict[str, Any] = {"fontsize": 8.5, "color": INK, "va": "center", "ha": "left"} | options
    ax.text(*at, text, **look)


def tiles(ax: Axes, at: tuple[float, float], labels: Sequence[tuple[int, str]], side: float = 0.24) -> None:
    """A row of images: each a small square in the colour of its class, with the name of the image in it.

    Args:
        ax: the sheet.
        at: lower left corner of the first.
        labels: class (0, 1 or 2) and name of each image.
        side: of a square.
    """
    for i, (kind, name) in enumerate(labels):
        corner = (at[0] + i * side * 1.15, at[1])
        ax.add_patch(Rectangle(corner, side, side, fc=CLASS_COLOURS[kind], ec="white", lw=0.8))
        middle = corner[0] + side / 2, corner[1] + side / 2
        ax.text(*middle, name, ha="center", va="center", fontsize=7, color="white")
