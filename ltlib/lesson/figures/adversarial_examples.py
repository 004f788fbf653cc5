"""The figures of lesson 05: an attacked image, attacks compared, the loss around an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ltlib.lesson.attacked_photographs import RADII, Attacked
from ltlib.lesson.figures.figure import COLOURS, MARKERS, Picture, new_figure, per_cent
from ltlib.lesson.figures.text import class_names, plain


def adversarial_example(
    x: np.ndarray,
    x_adv: np.ndarray,
    names: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    label: int,
    steps: int,
) -> Picture:
    """An image, the change, the changed image, and what the network predicts for both.

    Args:
        x, x_adv: images in [0, 1] (3, H, W).
        names: of the classes.
        before, after: probabilities (K,).
        label: the true class.
        steps: that the attack took.
    """
    figure, axes = new_figure(9, 2.7, columns=4, width_ratios=[1, 1, 1, 1.6])
    change = x_adv - x
    size = np.abs(change).max()
    shown = change / (2 * size) + 0.5 if size else np.full_like(x, 0.5)
    shown_names, was, became = class_names(names), int(before.argmax()), int(after.argmax())
    titles = (
        f"{shown_names[was]}, {before.max():.0%} confident",
        f"change, at most {255 * size:.1f}/255\n{steps} steps (stretched)",
        f"{shown_names[became]}, {after.max():.0%} confident",
    )
    for ax, image, title in zip(axes, (x, shown, x_adv), titles, strict=False):
        ax.imshow(image.transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    at = np.arange(len(names))
    for values, name, side in ((before, "before", -0.2), (after, "after", 0.2)):
        axes[3].bar(at + side, values, 0.4, label=plain(name), color=COLOURS[0 if side < 0 else 3])
    axes[3].set_xticks(at, shown_names, fontsize=8)
    if max(map(len, shown_names)) > 3:
        axes[3].tick_params(axis="x", rotation=90)
    axes[3].get_xticklabels()[label].set_fontweight("bold")
    axes[3].set(ylim=(0, 1.05), title="probabilities (bold: true class)")
    axes[3].title.set_fontsize(10)
    per_cent(axes[3].yaxis)
    axes[3].legend(fontsize=8)
    return Picture(
        figure,
        f"A {names[label]}, taken for {names[was]} ({before.max():.0%}); changed by at most "
        f"{255 * size:.1f}/255 in {steps} steps it is taken for {names[became]} ({after.max():.0%}).",
    )


CORNER = 28  # pixels of the change that are shown, enlarged


def changed_photograph(shown: Attacked, radius: int) -> Picture:
    """A photograph, its change, the changed photograph, and what the network predicts for both.

    Args:
        shown: the photograph and its change.
        radius: in grey levels of 255, one of ``RADII``.
    """
    figure, axes = new_figure(9, 2.6, columns=4, width_ratios=[1, 1, 1, 1.2])
    before, after = shown.probabilities[0], shown.probabilities[RADII.index(radius)]
    was, became = int(before.argmax()), int(after.argmax())
    names = class_names(shown.names)
    corner = shown.pattern[:, :CORNER, :CORNER]
    images = (shown.pixels, (127.5 + 127.5 * corner * (radius > 0)).astype(np.uint8), shown.changed(radius))
    titles = (
        f"photograph: {names[was]}\n{before[was]:.0%} confident",
        f"change: {radius} of 255 levels\n(corner, full contrast)",
        f"changed: {names[became]}\n{after[became]:.0%} confident",
    )
    for ax, image, title in zip(axes, images, titles, strict=False):
        ax.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    at = np.arange(len(names))
    for values, name, side in ((before, "photograph", -0.2), (after, "changed", 0.2)):
        axes[3].barh(at + side, values, 0.4, label=plain(name), color=COLOURS[0 if side < 0 else 3])
    axes[3].set_yticks(at, names, fontsize=8)
    axes[3].invert_yaxis()
    axes[3].set(xlim=(0, 1.05))
    axes[3].set_title("probabilities", fontsize=10)
    per_cent(axes[3].xaxis)
    axes[3].legend(fontsize=8)
    return Picture(
        figure,
        f"A photograph, taken for {shown.names[was]} ({before[was]:.0%}). With every value changed by {radius} of 255 "
        f"grey levels it is taken for {shown.names[became]} ({after[became]:.0%}).",
    )


def against_epsilon(epsilons: Sequence[float], curves: dict[str, Sequence[float]], title: str) -> Picture:
    """Accuracy against the radius, given in units of 1/255; one line per attack."""
    figure, (ax,) = new_figure(7, 3.4)
    for (name, values), marker in zip(curves.items(), MARKERS, strict=False):
        ax.plot(255 * np.asarray(epsilons), values, marker=marker, ms=5, label=plain(name))
    ax.set(xlabel="epsilon, in units of 1/255", ylabel="accuracy", ylim=(-0.03, 1.03), title=plain(title))
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{name} from {values[0]:.0%} to {values[-1]:.0%}" for name, values in curves.items())
    return Picture(figure, f"{title}: accuracy against epsilon. {words}.")


def climbs(losses: dict[str, Sequence[float]], title: str) -> Picture:
    """The loss that an attack has reached before each step and at the end; one line per attack."""
    figure, (ax,) = new_figure(7, 3.2)
    for (name, values), marker in zip(losses.items(), MARKERS, strict=False):
        ax.plot(range(len(values)), values, marker=marker, ms=4, label=plain(name))
    ax.set(xlabel="steps taken", ylabel="mean cross-entropy", title=plain(title))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{name} from {values[0]:.2f} to {values[-1]:.2f}" for name, values in losses.items())
    return Picture(figure, f"{title}: mean cross-entropy by step. {words}.")


def slices(panels: dict[str, np.ndarray], reach: float, epsilon: float) -> Picture:
    """Margins around one image, along two directions; the black line is the boundary, the square is the ball.

    Args:
        panels: name -> margins z_y - max z_j (n, n); rows follow the second direction.
        reach: the axes go from -reach to reach.
        epsilon: half the side of the square.
    """
    figure, axes = new_figure(4.2 * len(panels) + 0.6, 3.6, columns=len(panels), sharey=True)
    extent, words = 255 * reach * np.array([-1, 1]), []
    for ax, (name, margins) in zip(axes, panels.items(), strict=True):
        along = np.linspace(extent[0], extent[1], len(margins))
        top = np.abs(margins).max() or 1.0
        filled = ax.contourf(along, along, margins, levels=np.linspace(-top, top, 21), cmap="RdBu")
        if margins.min() < 0 < margins.max():
            ax.contour(along, along, margins, levels=[0], colors="black", linewidths=1.5)
        side = 255 * epsilon
        ax.add_patch(Rectangle((-side, -side), 2 * side, 2 * side, fill=False, ls="--", lw=1.2))
        ax.plot(0, 0, "k.", ms=8)
        ax.set(title=plain(name), xlabel="sign of the gradient, 1/255", aspect="equal")
        ax.grid(visible=False)
        figure.colorbar(filled, ax=ax, shrink=0.85, format="%.1f")
        words.append(f"{name}: wrong on {np.mean(margins < 0):.0%} of the plane")
    axes[0].set_ylabel("random signs, 1/255")
    return Picture(figure, "Margins around an image. " + "; ".join(words) + ".")


def along_a_line(change: np.ndarray, margins: dict[str, np.ndarray]) -> Picture:
    """Margins while an image moves along one direction; below zero it is classified wrongly.

    Args:
        change: of every pixel, in units of 1/255 (n,).
        margins: name -> z_y - max z_j (n,).
    """
    figure, (ax,) = new_figure(8, 3.2)
    words = []
    for (name, values), width in zip(margins.items(), (1.2, 2.2), strict=False):
        ax.plot(change, values, lw=width, label=plain(name))
        words.append(f"{name} from {values[0]:.2f} to {values[-1]:.2f} through {len(np.unique(values))} values")
    ax.axhline(0, color="0.4", lw=1)
    ax.set(xlabel="change along the sign of the gradient, 1/255", ylabel="margin", title="Margins along one direction")
    ax.legend()
    return Picture(figure, f"Margins along one direction: {'; '.join(words)}.")
