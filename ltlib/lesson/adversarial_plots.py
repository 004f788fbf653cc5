"""The figures of lessons 05 and 06, in the style of ``plots.py``: plain arrays in, a `Picture` out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ltlib.lesson.plots import COLOURS, Picture, _figure, _per_cent

MARKERS = "os^Dv<>Pph*X"


def adversarial_example(
    x: np.ndarray,
    x_adv: np.ndarray,
    names: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    label: int,
    steps: int,
) -> Picture:
    """An image, the change, the changed image, and what the network thinks of both.

    Args:
        x, x_adv: images in [0, 1] (3, H, W).
        names: of the classes.
        before, after: probabilities (K,).
        label: the true class.
        steps: that the attack took.
    """
    figure, axes = _figure(10, 2.9, columns=4, width_ratios=[1, 1, 1, 1.6])
    change = x_adv - x
    size = np.abs(change).max()
    shown = change / (2 * size) + 0.5 if size else np.full_like(x, 0.5)
    titles = (
        f"{names[before.argmax()]}, {before.max():.0%} sure",
        f"change, at most {255 * size:.1f}/255\n{steps} steps (stretched)",
        f"{names[after.argmax()]}, {after.max():.0%} sure",
    )
    for ax, image, title in zip(axes, (x, shown, x_adv), titles, strict=False):
        ax.imshow(image.transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
        ax.set_title(title, fontsize=10)
        ax.axis("off")
    at = np.arange(len(names))
    for values, name, side in ((before, "before", -0.2), (after, "after", 0.2)):
        axes[3].bar(at + side, values, 0.4, label=name, color=COLOURS[0 if side < 0 else 3])
    axes[3].set_xticks(at, names, fontsize=8)
    axes[3].get_xticklabels()[label].set_fontweight("bold")
    axes[3].set(ylim=(0, 1.05), title="probabilities (bold: the truth)")
    axes[3].title.set_fontsize(10)
    _per_cent(axes[3].yaxis)
    axes[3].legend(fontsize=8)
    return Picture(
        figure,
        f"A {names[label]}, taken for {names[before.argmax()]} ({before.max():.0%}); changed by at most "
        f"{255 * size:.1f}/255 in {steps} steps it is taken for {names[after.argmax()]} ({after.max():.0%}).",
    )


def against_epsilon(epsilons: Sequence[float], curves: dict[str, Sequence[float]], title: str) -> Picture:
    """Accuracy against the radius, given in units of 1/255; one line an attack."""
    figure, (ax,) = _figure(7, 3.4)
    for (name, values), marker in zip(curves.items(), MARKERS, strict=False):
        ax.plot(255 * np.asarray(epsilons), values, marker=marker, ms=5, label=name)
    ax.set(xlabel="epsilon, in units of 1/255", ylabel="accuracy", ylim=(-0.03, 1.03), title=title)
    _per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    words = "; ".join(f"{name} from {values[0]:.0%} to {values[-1]:.0%}" for name, values in curves.items())
    return Picture(figure, f"{title}: accuracy against epsilon. {words}.")


def climbs(losses: dict[str, Sequence[float]], title: str) -> Picture:
    """The loss that an attack has reached before each step and at the end; one line an attack."""
    figure, (ax,) = _figure(7, 3.2)
    for (name, values), marker in zip(losses.items(), MARKERS, strict=False):
        ax.plot(range(len(values)), values, marker=marker, ms=4, label=name)
    ax.set(xlabel="steps taken", ylabel="mean cross-entropy", title=title)
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
    figure, axes = _figure(4.2 * len(panels) + 0.6, 3.6, columns=len(panels), sharey=True)
    extent, words = 255 * reach * np.array([-1, 1]), []
    for ax, (name, margins) in zip(axes, panels.items(), strict=True):
        along = np.linspace(*extent, len(margins))
        top = np.abs(margins).max() or 1.0
        filled = ax.contourf(along, along, margins, levels=np.linspace(-top, top, 21), cmap="RdBu")
        if margins.min() < 0 < margins.max():
            ax.contour(along, along, margins, levels=[0], colors="black", linewidths=1.5)
        side = 255 * epsilon
        ax.add_patch(Rectangle((-side, -side), 2 * side, 2 * side, fill=False, ls="--", lw=1.2))
        ax.plot(0, 0, "k.", ms=8)
        ax.set(title=name, xlabel="sign of the gradient, 1/255", aspect="equal")
        ax.grid(visible=False)
        figure.colorbar(filled, ax=ax, shrink=0.85, format="%.1f")
        words.append(f"{name}: wrong on {np.mean(margins < 0):.0%} of the plane")
    axes[0].set_ylabel("random signs, 1/255")
    return Picture(figure, "Margins around an image. " + "; ".join(words) + ".")


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
    figure, axes = _figure(3.3 * columns, 3.5 * rows, columns, rows)
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
        ax.set_title(f"{name}\n{notes.get(name, '')}", fontsize=10)
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


def two_measures(
    points: dict[str, Sequence[tuple[float, float]]], title: str, labels: tuple[str, str], words: tuple[str, str]
) -> Picture:
    """Two measures of every method: a small mark for each seed, a large one at their mean.

    Args:
        points: method -> the two fractions of each seed.
        title: of the figure.
        labels: of the axes.
        words: the same in short, for the text.
    """
    figure, (ax,) = _figure(8, 4.6)
    means = []
    for i, (name, pairs) in enumerate(points.items()):
        across, up = np.array(pairs).T
        look = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "ls": "none"}
        ax.plot(across, up, ms=4, alpha=0.5, **look)
        ax.plot(across.mean(), up.mean(), ms=10, mec="black", label=name, **look)
        means.append(f"{name}: {words[0]} {across.mean():.1%}, {words[1]} {up.mean():.1%}")
    ax.set(xlabel=labels[0], ylabel=labels[1], title=title)
    _per_cent(ax.xaxis)
    _per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return Picture(figure, f"{title}. " + "; ".join(means) + ".")


def curves(histories: dict[str, tuple[Sequence[int], Sequence[float]]], title: str, chance: float) -> Picture:
    """Test accuracy by epoch, one line a run, with a line at chance."""
    figure, (ax,) = _figure(7.5, 3.4)
    for (name, (epochs, accuracy)), marker in zip(histories.items(), MARKERS, strict=False):
        ax.plot(epochs, accuracy, marker=marker, ms=3, label=name)
    ax.axhline(chance, color="0.4", lw=1, ls="--", label="chance")
    ax.set(xlabel="epoch", ylabel="clean test accuracy", ylim=(0, 1.03), title=title)
    _per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    words = "; ".join(f"{name} ends at {accuracy[-1]:.0%}" for name, (_, accuracy) in histories.items())
    return Picture(figure, f"{title}. {words}.")
