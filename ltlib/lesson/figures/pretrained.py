"""The figures of lesson 09: how alike the classes are to a frozen network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import seaborn as sns

from ltlib.lesson.figures.figure import Picture, new_figure
from ltlib.lesson.figures.text import class_names as drawn


def similarity(cosines: np.ndarray, names: Sequence[str]) -> Picture:
    """Cosine between the mean features of each pair of classes, as a heat map.

    Args:
        cosines: (K, K), symmetric.
        names: of the classes.
    """
    figure, (ax,) = new_figure(5.6, 4.6)
    lowest = float(cosines.min())
    sns.heatmap(
        cosines,
        ax=ax,
        vmin=lowest,
        vmax=1,
        cmap="viridis",
        square=True,
        annot=True,
        fmt=".2f",
        annot_kws={"size": 7},
        xticklabels=drawn(names),
        yticklabels=drawn(names),
        cbar_kws={"label": "cosine", "shrink": 0.8},
    )
    ax.grid(visible=False)
    ax.tick_params(axis="y", rotation=0)
    ax.tick_params(axis="x", rotation=45)
    for label in ax.get_xticklabels():
        label.set_horizontalalignment("right")
    ax.set_title("Cosine between the mean features of two classes")
    others = np.where(np.eye(len(names), dtype=bool), -np.inf, cosines)
    a, b = divmod(int(others.argmax()), len(names))
    most = f"{names[a]} and {names[b]} are the most alike, {others[a, b]:.2f}"
    return Picture(
        figure, f"Cosines between mean features of {len(names)} classes: {most}. The lowest is {lowest:.2f}."
    )
