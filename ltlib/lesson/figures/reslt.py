"""The figures of lesson 04: class sets, branches, gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.lesson.figures.figure import (
    COLOURS,
    GROUP_COLOURS,
    Picture,
    class_axis,
    listing,
    new_figure,
    per_cent,
    side_by_side,
)
from ltlib.lesson.figures.text import plain

BRANCH_COLOURS = {"H": COLOURS[0], "M": COLOURS[2], "T": COLOURS[3], "fused": COLOURS[7]}


def class_sets(counts: np.ndarray, designs: dict[str, np.ndarray]) -> Picture:
    """Which classes each branch learns, one panel per design: sets (J, K) bool under the class sizes."""
    figure, axes = new_figure(3.9 * len(designs), 2.5, columns=len(designs), sharey=True)
    words = []
    for ax, (name, sets) in zip(axes, designs.items(), strict=True):
        for j, (branch, row) in enumerate(zip("HMT", sets, strict=False)):
            ax.bar(np.flatnonzero(row), 0.8, 0.92, bottom=j - 0.4, color=BRANCH_COLOURS[branch])
        ax.set(
            title=plain(name), ylim=(2.5, -0.5), xlim=(-0.6, len(counts) - 0.4), xlabel="training images of the class"
        )
        ax.set_yticks(range(3), [f"branch {b}" for b in "HMT"])
        shown = np.arange(len(counts)) if len(counts) <= 12 else np.linspace(0, len(counts) - 1, 6).astype(int)
        ax.set_xticks(shown, [str(counts[c]) for c in shown], fontsize=8)
        ax.grid(visible=False)
        words.append(f"{name}: " + ", ".join(str(int(row.sum())) for row in sets) + " classes")
    return Picture(figure, "Classes that the branches H, M, T learn. " + "; ".join(words) + ".")


def mean_logits(
    sums: dict[str, np.ndarray],
    group: str,
    classes: np.ndarray,
    limits: tuple[float, float],
    names: Sequence[str] | None = None,
) -> Picture:
    """Mean logit of each class over the images of one group, for H, H+M and H+M+T.

    Args:
        sums: name of a sum of branches -> (K,).
        group: name of the group; ``classes`` are its classes, which are shaded.
        limits: of the vertical axis, to make figures comparable.
        names: of the classes.
    """
    figure, (ax,) = new_figure(7, 3.4)
    ax.axvspan(classes.min() - 0.5, classes.max() + 0.5, color=GROUP_COLOURS[group], alpha=0.12)
    for (name, values), colour in zip(sums.items(), BRANCH_COLOURS.values(), strict=False):
        ax.plot(np.arange(len(values)), values, "o-", ms=5, color=colour, label=plain(name))
    ax.axhline(0, color="0.4", lw=1)
    class_axis(ax, names, max(map(len, sums.values())))
    ax.set(ylabel="mean logit", ylim=limits, title=f"Images of the group {group}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    inside = {n: v[classes].mean() - np.delete(v, classes).mean() for n, v in sums.items()}
    words = ", ".join(f"{n} {gap:+.1f}" for n, gap in inside.items())
    return Picture(figure, f"Mean logits of the images of {group}; classes of the group minus the others: {words}.")


def group_accuracy(accuracies: dict[str, dict[str, dict[str, float]]]) -> Picture:
    """Accuracy of each group for several sums of branches, one panel per method.

    Args:
        accuracies: method -> sum of branches -> group -> accuracy.
    """
    figure, axes = new_figure(4.6 * len(accuracies), 3.2, columns=len(accuracies), sharey=True)
    words = []
    for ax, (method, sums) in zip(axes, accuracies.items(), strict=True):
        at, groups = np.arange(len(sums)), list(next(iter(sums.values())))
        width = 0.8 / len(groups)
        for g, group in enumerate(groups):
            values = [accuracy[group] for accuracy in sums.values()]
            x = at + side_by_side(len(groups), g)
            bars = ax.bar(x, values, width * 0.92, color=GROUP_COLOURS.get(group, "0.6"), label=group)
            ax.bar_label(bars, [f"{100 * v:.0f}" for v in values], fontsize=8)
        ax.set_xticks(at, list(sums))
        ax.set(title=plain(method), ylim=(0, 1.08))
        ax.grid(axis="x", visible=False)
        per_cent(ax.yaxis)
        words += [f"{method}, {name}: {listing(accuracy)}" for name, accuracy in sums.items()]
    axes[0].set_ylabel("accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return Picture(figure, "Accuracy by group. " + "; ".join(words) + ".")


def gradient_shares(shares: dict[str, dict[str, float]]) -> Picture:
    """Shares of the terms of the loss in the gradient of the shared weights: one stacked bar per moment.

    Args:
        shares: moment -> term ("H", "M", "T", "fused") -> length of its gradient.
    """
    figure, (ax,) = new_figure(8, 0.42 * len(shares) + 1.3)
    at, left = np.arange(len(shares)), np.zeros(len(shares))
    totals = np.array([sum(parts.values()) for parts in shares.values()])
    for term, colour in BRANCH_COLOURS.items():
        part = np.array([parts[term] for parts in shares.values()]) / totals
        bars = ax.barh(at, part, 0.75, left=left, color=colour, label=term)
        ax.bar_label(
            bars, [f"{p:.0%}" if p >= 0.04 else "" for p in part], label_type="center", color="white", fontsize=9
        )
        left += part
    ax.set_yticks(at, list(shares))
    ax.invert_yaxis()
    ax.set(xlabel="share", xlim=(0, 1))
    per_cent(ax.xaxis)
    ax.grid(visible=False)
    figure.legend(loc="outside upper center", ncols=4)
    words = "; ".join(f"{m}: " + listing({t: v / sum(p.values()) for t, v in p.items()}) for m, p in shares.items())
    return Picture(figure, f"Shares of the gradient. {words}.")


def weight_of_an_image(tail_images: Sequence[int], weights: dict[str, np.ndarray]) -> Picture:
    """The weight of one tail image in branch T, against the number of tail images in its batch."""
    figure, (ax,) = new_figure(6.5, 3.1)
    for i, (name, values) in enumerate(weights.items()):
        ax.plot(tail_images, values, "os"[i % 2] + "-", ms=5, color=COLOURS[i], label=plain(name))
    ax.set(yscale="log", xlabel="tail images in the batch", ylabel="weight of each of them in T")
    ax.legend()
    words = "; ".join(f"{name} from {v[0]:.3f} to {v[-1]:.3f}" for name, v in weights.items())
    return Picture(figure, f"Weight of one tail image against the tail images of its batch: {words}.")
