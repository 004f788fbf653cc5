"""The figures of lesson 08 on evidence: spread over seeds, one seed, chosen epochs, gains beside the papers'."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ltlib.evaluation.spread import Interval, interval
from ltlib.lesson.figures.figure import COLOURS, Picture, new_figure, per_cent
from ltlib.lesson.figures.text import plain
from ltlib.results.papers import Gain

WIDEST = 34  # characters of a name in one line


def over_seeds(results: dict[str, Sequence[float]], title: str, rows: int = 8) -> Picture:
    """One line per row: a dot for each seed, a bar at the mean, and Student's 95 % interval where seeds suffice.

    All such figures of one ``rows`` have one size and one layout, so a control can exchange them. The dots decide what
    is shown: an interval can continue beyond the edge, and the text of the picture says how far.

    Args:
        results: name -> one fraction per seed, any number of rows.
        title: above the figure.
        rows: for how many there is space at full size.
    """
    figure, (names, ax) = new_figure(9, 1.4 + 0.6 * rows, columns=2, sharey=True, width_ratios=(1, 2.3))
    names.axis("off")
    words = []
    for y, (name, values) in enumerate(results.items()):
        names.text(1, y, textwrap.fill(plain(name), WIDEST), ha="right", va="center", fontsize=8, linespacing=0.9)
        words.append(f"{name}: {_draw(ax, y, values)}")
    if not results:
        ax.text(0.5, 0.5, "not measured in this study", transform=ax.transAxes, ha="center")
    every = [value for values in results.values() for value in values]
    if every:
        margin = max(0.25 * (max(every) - min(every)), 0.02)
        ax.set_xlim(max(min(every) - margin, -0.02), min(max(every) + margin, 1.02))
    ax.set_ylim(max(len(results), rows) - 0.4, -0.6)
    ax.set_title(plain(title), fontsize=10)
    ax.tick_params(axis="y", left=False, labelleft=False)
    ax.grid(axis="y", visible=False)
    per_cent(ax.xaxis)
    _legend(figure)
    return Picture(figure, f"{title}; mean and 95% interval. {'; '.join(words) or 'Not measured in this study'}.")


def _draw(ax: Axes, y: float, values: Sequence[float]) -> str:
    """One row; returns it in words."""
    spread = interval(values)
    ax.plot(values, [y] * len(values), "o", ms=4.5, color=COLOURS[0], alpha=0.6, mew=0)
    ax.plot(spread.mean, y, "|", ms=12, mew=2.5, color="0.15")
    if spread.low is None or spread.high is None:
        return f"{spread.mean:.1%}, one seed"
    ax.plot([spread.low, spread.high], [y, y], color=COLOURS[3], lw=2, alpha=0.65, zorder=1)
    return f"{spread.mean:.1%} ({spread.low:.1%} to {spread.high:.1%})"


def _legend(figure) -> None:
    seed = Line2D([], [], marker="o", ls="", ms=4.5, color=COLOURS[0], alpha=0.6, label="one seed")
    mean = Line2D([], [], marker="|", ls="", ms=12, mew=2.5, color="0.15", label="mean")
    span = Line2D([], [], color=COLOURS[3], lw=2, alpha=0.65, label="95% interval (Student's t)")
    figure.legend(handles=[seed, mean, span], loc="outside lower right", ncols=3, fontsize=8)


def coverage(numbers: Sequence[int], shares: dict[str, Sequence[float]]) -> Picture:
    """How often an interval holds the true mean, against the number of seeds; one line per kind of interval."""
    figure, (ax,) = new_figure(6.5, 3.2)
    for i, (name, values) in enumerate(shares.items()):
        ax.plot(numbers, values, "os^D"[i % 4] + "-", ms=5, color=COLOURS[i], label=plain(name))
    ax.axhline(0.95, color="0.4", lw=1, ls=":")
    ax.set(
        xlabel="seeds", ylabel="intervals that hold the true mean", title="What an interval promises", ylim=(0, 1.04)
    )
    ax.set_xticks(numbers)
    per_cent(ax.yaxis)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    first, last = numbers[0], numbers[-1]
    words = "; ".join(f"{n}: {v[0]:.0%} with {first} seeds, {v[-1]:.0%} with {last}" for n, v in shares.items())
    return Picture(figure, f"Share of simulated intervals that hold the true mean. {words}.")


def wrong_orders(differences: Sequence[float], shares: Sequence[float], edges: Sequence[float]) -> Picture:
    """How often one seed of each of two methods puts them in the other order than the means do.

    Args:
        differences: between the means of two methods, one per pair, at least 0.
        shares: of the comparisons of single seeds that contradict, one per pair.
        edges: of the ranges of differences, each a bar at the mean of its pairs; what is above the last is one more.
    """
    figure, (ax,) = new_figure(7, 3.6)
    apart, wrong = np.asarray(differences), np.asarray(shares)
    ticks, words = [], []
    for place, (low, high) in enumerate(itertools.pairwise([*edges, np.inf])):
        inside = np.flatnonzero((apart >= low) & (apart < high))
        mean = wrong[inside].mean() if len(inside) else 0
        ax.bar(place, mean, 0.86, color=COLOURS[0], alpha=0.25)
        ax.plot(place + np.linspace(-0.36, 0.36, len(inside)), wrong[inside], "o", ms=4, color=COLOURS[0], alpha=0.6)
        ax.text(place, 0.93, f"{mean:.0%}" if len(inside) else "no pair", ha="center")
        points = f"{100 * low:g} to {100 * high:g}" if high < np.inf else f"over {100 * low:g}"
        ticks.append(f"{points}\n({len(inside)} pairs)")
        words.append(f"{points} points apart: {mean:.0%} of the comparisons of {len(inside)} pairs")
    ax.axhline(0.5, color="0.4", lw=1, ls=":")
    ax.text(len(ticks) - 0.55, 0.51, "a coin", ha="right", fontsize=8)
    ax.set_xticks(range(len(ticks)), ticks)
    ax.set(xlabel="difference of the two means, in points", ylabel="wrong order", ylim=(-0.03, 1.02))
    ax.set_title("Two methods, one seed each: how often the order is the wrong one")
    ax.grid(axis="x", visible=False)
    per_cent(ax.yaxis)
    return Picture(figure, f"How often one seed each gives the wrong order. {'; '.join(words)}.")


def chosen_epochs(histories: dict[str, list[dict]]) -> Picture:
    """Test accuracy by epoch, one panel per run, with the last epoch, the best on the test images and, with images
    held out, the one chosen on them."""
    figure, axes = new_figure(3.2 * len(histories) + 0.6, 3.4, columns=len(histories), sharey=True)
    words = []
    for ax, (name, history) in zip(axes, histories.items(), strict=True):
        looks = [line for line in history if "test_accuracy" in line]
        test = {line["epoch"]: line["test_accuracy"] for line in looks}
        marks = {"last": looks[-1]["epoch"], "best on test": max(test, key=test.__getitem__)}
        ax.plot(list(test), list(test.values()), color="0.45", lw=1.2)
        if "validation_accuracy" in looks[0]:
            held_out = {line["epoch"]: line["validation_accuracy"] for line in looks}
            marks["chosen on held-out images"] = max(held_out, key=held_out.__getitem__)
        for i, (mark, epoch) in enumerate(marks.items()):
            look = {"ms": (13, 11, 6)[i], "mfc": "none" if i == 0 else COLOURS[i], "mew": 1.5}
            ax.plot(epoch, test[epoch], "o*s"[i], color=COLOURS[i], label=mark, ls="", **look)
        ax.set(xlabel="epoch", title=plain(name))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        words.append(f"{name}: " + ", ".join(f"{mark} {test[epoch]:.1%}" for mark, epoch in marks.items()))
    axes[0].set_ylabel("test accuracy")
    per_cent(axes[0].yaxis)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return Picture(figure, f"Test accuracy by epoch and the epochs chosen. {'; '.join(words)}.")


def gains(rows: Sequence[Gain], title: str) -> Picture:
    """What methods add to the baseline: ours with its interval over seeds, and what the papers report.

    Args:
        rows: of :func:`ltlib.results.papers.gains`.
        title: above the figure.
    """
    labels = list(dict.fromkeys((row.study, row.label) for row in rows))
    sources = list(dict.fromkeys(row.source for row in rows))
    figure, (ax,) = new_figure(9, 0.5 * len(labels) + 1.7)
    words = []
    for row in rows:
        y, ours = labels.index((row.study, row.label)), row.ours
        marker = "s^Dv"[sources.index(row.source) % 4]
        ax.plot(ours.mean, y - 0.18, "o", ms=7, color=COLOURS[0], label="ours, with the 95% interval over seeds")
        ax.plot(row.theirs, y + 0.18, marker, ms=7, color=COLOURS[1], label=f"paper: {row.source}")
        if ours.low is not None and ours.high is not None:
            ax.plot([ours.low, ours.high], [y - 0.18] * 2, color=COLOURS[0], lw=2, alpha=0.6)
        words.append(f"{row.label} ({row.study}): ours {_points(ours)}, theirs {100 * row.theirs:+.1f}")
    ax.axvline(0, color="0.4", lw=1)
    several = len({study for study, _ in labels}) > 1
    ax.set_yticks(range(len(labels)), [plain(f"{label}\n{study}" if several else label) for study, label in labels])
    ax.set(xlabel="points gained over the baseline", title=plain(title), ylim=(len(labels) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}")
    once = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(once.values(), once, loc="outside lower center", fontsize=8)
    return Picture(figure, f"{title}, in points. {'; '.join(words)}.")


def _points(gain: Interval) -> str:
    inside = "" if gain.low is None or gain.high is None else f" ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    return f"{100 * gain.mean:+.1f}{inside}"
