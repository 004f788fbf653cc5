"""The figures of lesson 06: decision boundaries in the plane, clean against robust, curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle

from ltlib.lesson.figures.common import two_measures
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure, per_cent
from ltlib.lesson.figures.looks import looks, method_of
from ltlib.lesson.figures.text import plain


def boundaries(
    panels: dict[str, np.ndarray], points: np.ndarray, labels: np.ndarray, epsilon: float, notes: dict[str, str]
) -> Picture:
    """Decisions of two-class networks on the unit square, with the training points and some of their balls.

    Args:
        panels: name -> share of class 1 (n, n) on a grid over the unit square; rows follow the second coordinate.
        points, labels: (N, 2) in the unit square and (N,).
        epsilon: radius of the balls, which are squares.
        notes: name -> second line of the title.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure, axes = new_figure(3.3 * columns, 3.5 * rows, columns, rows)
    for ax in axes[len(panels) :]:
        ax.remove()
    for ax, (name, share) in zip(axes, panels.items(), strict=False):
        along = np.linspace(0, 1, len(share))
        ax.contourf(along, along, share, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.55)
        ax.contour(along, along, share, levels=[0.5], colors="black", linewidths=1.5)
        for c, colour in ((0, COLOURS[0]), (1, COLOURS[3])):
            ax.plot(*points[labels == c].T, ".", ms=4, color=colour)
        for point in points[:: max(len(points) // 12, 1)]:
            ax.add_patch(Rectangle(point - epsilon, 2 * epsilon, 2 * epsilon, fill=False, lw=0.8, ec="0.25"))
        ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
        ax.set_title(f"{plain(name)}\n{notes.get(name, '')}", fontsize=10)
    words = "; ".join(f"{name}: {notes.get(name, '')}" for name in panels)
    return Picture(figure, f"Decision boundaries in two dimensions. {words}.")


def plane(points: dict[str, Sequence[tuple[float, float]]], title: str, robust: str) -> Picture:
    """Clean against robust accuracy.

    Args:
        points: method -> (clean, robust) of each seed.
        title: of the figure.
        robust: the attack behind the vertical axis.
    """
    return two_measures(points, title, ("clean accuracy", f"robust accuracy ({robust})"), ("clean", "robust"))


def curves(histories: dict[str, tuple[Sequence[int], Sequence[float]]], title: str, chance: float) -> Picture:
    """Test accuracy by epoch, one line per run, with a line at chance. The second variant of a method is dashed.

    Args:
        histories: ``"variant, seed n"`` -> epochs and accuracies. A variant begins with the name of its method.
        title: of the figure.
        chance: accuracy of guessing.
    """
    figure, (ax,) = new_figure(7.5, 3.4)
    variants: dict[str, list[str]] = {}
    for name, look in looks(histories).items():
        variant, known = name.rpartition(", seed ")[0], variants.setdefault(look["color"], [])
        if variant not in known:
            known.append(variant)
        style = ("-", "--", "-.")[known.index(variant) % 3]
        ax.plot(*histories[name], ls=style, ms=4, label=plain(name), **look)
    ax.axhline(chance, color="0.4", lw=1, ls=":", label="chance")
    ax.set(xlabel="epoch", ylabel="clean test accuracy", ylim=(0, 1.03), title=plain(title))
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    words = "; ".join(f"{name} ends at {accuracy[-1]:.0%}" for name, (_, accuracy) in histories.items())
    return Picture(figure, f"{title}. {words}.")


def per_method(points: dict[str, Sequence[tuple[float, float]]], title: str, robust: str) -> Picture:
    """Clean against robust accuracy, one panel per method: its runs in its colour, all others in grey.

    Args:
        points: label -> (clean, robust) of each seed. The label begins with the method, and what follows is a variant.
        title: of the figure.
        robust: the attack behind the vertical axis.
    """
    kinds: dict[str, list[str]] = {}
    for label in points:
        kinds.setdefault(method_of(label) or label, []).append(label)
    columns = min(len(kinds), 3)
    rows = -(-len(kinds) // columns)
    figure, axes = new_figure(3.5 * columns, 2.9 * rows, columns, rows, sharex=True, sharey=True)
    every = np.array([pair for seeds in points.values() for pair in seeds])
    words = []
    for ax in axes[len(kinds) :]:
        ax.remove()
    for ax, labels in zip(axes, kinds.values(), strict=False):
        ax.plot(*every.T, "o", ms=3, color="0.8")
        for label, look in looks(labels).items():
            clean, attacked = np.array(points[label]).T
            ax.plot(clean, attacked, ms=4, alpha=0.5, ls="none", **look)
            name = plain(f"{label} ({len(clean)})")
            ax.plot(clean.mean(), attacked.mean(), ms=9, mec="black", ls="none", label=name, **look)
            words.append(f"{label}: clean {clean.mean():.1%}, robust {attacked.mean():.1%}")
        per_cent(ax.xaxis)
        per_cent(ax.yaxis)
        ax.legend(fontsize=7, loc="upper left")
    figure.supxlabel("clean accuracy", fontsize=10)
    figure.supylabel(f"robust accuracy ({robust})", fontsize=10)
    figure.suptitle(plain(title))
    return Picture(figure, f"{title}, one panel per method; means over seeds. {'; '.join(words)}.")
