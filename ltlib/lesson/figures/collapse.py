"""Minority collapse in the plane: features and classifier of three classes, of which two are rare."""

from __future__ import annotations

import numpy as np

from ltlib.errors import InputError
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure


def minority_collapse(panels: dict[str, tuple[np.ndarray, np.ndarray]], names: tuple[str, ...] = ()) -> Picture:
    """Features and classifier rows, one panel for each title, each with the angle between the last two rows.

    A row is an arrow and a feature is a dot. The first class is the frequent one.

    Args:
        panels: title -> features (K, 2) and classifier (K, 2), as :func:`ltlib.methods.etf.layer_peeled` gives them.
        names: of the classes; by default they are counted from 0.

    Raises:
        InputError: there is no panel, or features and classifier are not in the plane.
    """
    if not panels:
        raise InputError("minority_collapse needs at least one panel; got none.")
    figure, axes = new_figure(3.0 * len(panels), 3.7, columns=len(panels))
    told = []
    for ax, (title, (features, rows)) in zip(axes, panels.items(), strict=True):
        if features.shape != rows.shape or rows.ndim != 2 or rows.shape[1] != 2:
            raise InputError(f"{title!r} needs features and rows (K, 2); got {features.shape} and {rows.shape}.")
        reach = 1.15 * max(np.linalg.norm(both, axis=1).max() for both in (features, rows))
        for c, (h, w) in enumerate(zip(features, rows, strict=True)):
            name, colour = names[c] if names else f"class {c}", COLOURS[c]
            ax.annotate("", w, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkB": 0})
            ax.plot(*h, "o", ms=8, color=colour, label=name)
        degrees = angle(rows[-2], rows[-1])
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"{title}\n{degrees:.0f}° between the rare rows", fontsize=10)
        told.append(f"{title}: {degrees:.0f} degrees between the rows of the last two classes")
    axes[0].legend(fontsize=8, loc="lower right")
    return Picture(figure, "; ".join(told) + ".")


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """Between two vectors, in degrees."""
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
