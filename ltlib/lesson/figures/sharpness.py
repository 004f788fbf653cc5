"""How the loss of each class bends around trained weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.lesson.figures.figure import Picture, class_axis, new_figure
from ltlib.lesson.figures.looks import looks


def curvature(ends: dict[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str] | None = None) -> Picture:
    """The lowest and the highest eigenvalue of each class's Hessian: a point per run, a line through their means.

    Args:
        ends: name -> lowest and highest (S, K), of S runs and K classes, see
            :func:`ltlib.evaluation.sharpness.class_curvature`.
        names: of the classes.
    """
    classes = next(iter(ends.values()))[0].shape[1]
    figure, axes = new_figure(10, 3.4, columns=2)
    told = []
    for ax, what, place in zip(axes, ("lowest", "highest"), (0, 1), strict=True):
        for name, look in looks(ends).items():
            values = ends[name][place]
            ax.plot(np.arange(classes), values.mean(0), lw=1.5, label=name, ms=5, **look)
            ax.plot(np.tile(np.arange(classes), len(values)), values.ravel(), ".", ms=4, alpha=0.5, color=look["color"])
            few = {"first class": float(values.mean(0)[0]), "last class": float(values.mean(0)[-1])}
            told.append(f"{what} of {name}: " + ", ".join(f"{where} {value:.1f}" for where, value in few.items()))
        ax.set(title=f"{what} eigenvalue of the class's Hessian")
        class_axis(ax, names, classes)
    axes[0].axhline(0, color="0.5", lw=1)
    axes[1].set_yscale("log")
    axes[1].legend(fontsize=8)
    return Picture(figure, "Means over the runs; " + "; ".join(told) + ".")
