"""The figures of lesson 01: how often things occur, profiles, groups, and what a sampler shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.lesson.figures.figure import GROUP_COLOURS, Picture, class_axis, new_figure, per_cent
from ltlib.lesson.figures.text import plain


def rank_frequency(counts: dict[str, np.ndarray]) -> Picture:
    """How often the commonest, second commonest, ... of something occurs; both axes logarithmic."""
    figure, (ax,) = new_figure(7, 3.4)
    words = []
    for i, (name, values) in enumerate(counts.items()):
        ranked = np.sort(values)[::-1]
        ax.plot(np.arange(1, len(ranked) + 1), ranked, marker="os^D"[i % 4], ms=3, lw=1.5, label=plain(name))
        words.append(f"{name} fall from {ranked[0]:,} to {ranked[-1]:,}")
    ax.set(xscale="log", yscale="log", xlabel="rank (1 = commonest)", ylabel="occurrences")
    ax.set_title("How often the commonest, the second commonest, ... occurs")
    ax.legend()
    return Picture(figure, f"Occurrences against rank, both logarithmic: {'; '.join(words)}.")


def count_profiles(
    profiles: dict[str, np.ndarray], limits: Sequence[float] = (0.8, 1000), names: Sequence[str] | None = None
) -> Picture:
    """Training images of each class under several profiles, with the bounds of the threshold rule.

    Args:
        profiles: name -> counts (K,) from head to tail.
        limits: of the vertical axis, fixed, to make figures comparable.
        names: of the classes.
    """
    figure, (ax,) = new_figure(7, 3.4)
    for i, (name, counts) in enumerate(profiles.items()):
        label = f"{name}: {counts.sum():,} images, {counts.max():,} to {counts.min():,} per class"
        size = 5 if len(counts) <= 20 else 2.5
        style = "steps-mid" if len(np.unique(counts)) == 2 else "default"  # the step profile jumps, it does not slope
        ax.plot(range(len(counts)), counts, marker="os^D"[i % 4], ms=size, drawstyle=style, label=plain(label))
    for bound, text in ((100, "many: more than 100"), (20, "few: fewer than 20")):
        ax.axhline(bound, color="0.5", lw=1, ls=":")
        ax.annotate(text, (0.01, bound), xycoords=("axes fraction", "data"), va="bottom", fontsize=8)
    ax.set(yscale="log", ylim=limits, ylabel="training images")
    class_axis(ax, names, max(map(len, profiles.values())))
    ax.minorticks_off()
    figure.legend(loc="outside upper left", fontsize=9)
    words = "; ".join(f"{name}: {c.sum():,} images, from {c.max():,} to {c.min():,}" for name, c in profiles.items())
    return Picture(figure, f"Training images of each class from head to tail. {words}.")


def group_sizes(sizes: dict[str, dict[str, int]]) -> Picture:
    """How many classes are many, medium and few; one bar per data set or rule, as shares of its classes.

    Args:
        sizes: name -> {"many": classes, "medium": classes, "few": classes}.
    """
    figure, (ax,) = new_figure(8, 0.34 * len(sizes) + 1.1)
    left = np.zeros(len(sizes))
    totals = np.array([sum(groups.values()) for groups in sizes.values()])
    for name, colour in GROUP_COLOURS.items():
        classes = np.array([groups[name] for groups in sizes.values()])
        bars = ax.barh(range(len(sizes)), classes / totals, left=left, color=colour, label=plain(name), height=0.75)
        ax.bar_label(bars, [str(n) if n else "" for n in classes], label_type="center", color="white", fontsize=9)
        left += classes / totals
    ax.set_yticks(range(len(sizes)), [plain(name) for name in sizes])
    ax.invert_yaxis()
    ax.set(xlabel="share of the classes (numbers: classes)", xlim=(0, 1))
    per_cent(ax.xaxis)
    ax.grid(visible=False)
    figure.legend(loc="outside upper center", ncols=3)
    words = "; ".join(f"{name} {'/'.join(str(n) for n in groups.values())}" for name, groups in sizes.items())
    return Picture(figure, f"Classes that are many/medium/few: {words}.")


def class_shares(
    shares: dict[str, np.ndarray], title: str, top: float | None = None, names: Sequence[str] | None = None
) -> Picture:
    """Which share of what the network sees belongs to each class; one line per sampler.

    Args:
        shares: name -> (K,), fractions that add up to 1.
        title: above the figure.
        top: upper end of the vertical axis, where figures are to be compared.
        names: of the classes.
    """
    figure, (ax,) = new_figure(7, 3.2)
    for i, (name, values) in enumerate(shares.items()):
        ax.plot(range(len(values)), values, marker="os^Dv"[i % 5], ms=5, label=plain(name))
    class_axis(ax, names, max(map(len, shares.values())))
    ax.set(ylabel="share of the images seen", ylim=(0, top), title=plain(title))
    per_cent(ax.yaxis)
    ax.legend()
    words = "; ".join(f"{name}: first class {v[0]:.1%}, last class {v[-1]:.1%}" for name, v in shares.items())
    return Picture(figure, f"{title}. {words}.")
