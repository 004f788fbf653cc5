"""The figures of lesson 02: norms of classifiers, temperatures, held-out against test images, gains seed by seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ltlib.evaluation.spread import Interval
from ltlib.lesson.figures.figure import COLOURS, Picture, listing, new_figure, per_cent
from ltlib.lesson.figures.looks import looks
from ltlib.lesson.figures.text import plain


def norms_against_counts(norms: dict[str, np.ndarray], counts: np.ndarray) -> Picture:
    """Length of each class's row of the classifier against the class's training images, logarithmic.

    Args:
        norms: name -> (runs, K); the line is the mean of the runs, the faint points are the runs.
        counts: (K,) training images.
    """
    figure, (ax,) = new_figure(7, 3.4)
    words = []
    for i, (name, look) in enumerate(looks(norms).items()):
        values, mean = norms[name], norms[name].mean(axis=0)
        ax.plot(counts, values.T, look["marker"], ms=4, color=look["color"], alpha=0.35)
        ax.plot(counts, mean, ("-", "--", ":", "-.")[i % 4], color=look["color"], lw=2, label=plain(name))
        words.append(f"{name} from {mean[counts.argmax()]:.2f} (largest class) to {mean[counts.argmin()]:.2f}")
    ax.set(xscale="log", xlabel="training images of the class", ylabel="norm of its classifier row")
    ax.set_ylim(bottom=0)
    if len(counts) <= 20:
        ax.set_xticks(counts, counts)
        ax.minorticks_off()
    ax.invert_xaxis()
    ax.set_title("Classifier norms, from head (left) to tail (right)")
    ax.legend()
    return Picture(figure, f"Norm of the classifier's rows against training images: {'; '.join(words)}.")


def temperature_curves(temperatures: np.ndarray, curves: dict[str, np.ndarray]) -> Picture:
    """Negative log-likelihood against temperature on several sets of images, each with its minimum marked."""
    figure, (ax,) = new_figure(7, 3.4)
    words = []
    for i, (name, values) in enumerate(curves.items()):
        best = temperatures[values.argmin()]
        ax.plot(temperatures, values, color=COLOURS[i], label=f"{name}: best T = {best:.2f}")
        ax.plot(best, values.min(), "os^D"[i % 4], color=COLOURS[i], ms=8)
        words.append(f"{name} is smallest at T = {best:.2f}")
    ax.axvline(1, color="0.5", lw=1, ls=":")
    ax.set(xscale="log", xlabel="temperature T", ylabel="negative log-likelihood")
    ticks = [t for t in (0.25, 0.5, 1, 2, 4, 8) if temperatures[0] <= t <= temperatures[-1]]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set_title("Which temperature fits which images")
    ax.legend()
    return Picture(figure, f"Negative log-likelihood against temperature: {'; '.join(words)}.")


def held_out_accuracy(histories: dict[str, list[list[dict]]]) -> Picture:
    """Accuracy on the held-out and on the test images by epoch; one panel per method, one line per run."""
    figure, axes = new_figure(3.6 * len(histories) + 1, 3.2, columns=len(histories), sharey=True)
    words = []
    for ax, (name, runs) in zip(axes, histories.items(), strict=True):
        last = {}
        for i, (split, label) in enumerate((("validation", "held out"), ("test", "test"))):
            for n, history in enumerate(runs):
                measured = [(r["epoch"], r[f"{split}_accuracy"]) for r in history if f"{split}_accuracy" in r]
                ax.plot(*zip(*measured, strict=True), "os"[i] + "-", ms=3, color=COLOURS[i], label=None if n else label)
            last[label] = float(np.mean([history[-1][f"{split}_accuracy"] for history in runs]))
        ax.set(xlabel="epoch", title=plain(name), ylim=(0, 1.02))
        words.append(f"{name}: {listing(last)}")
    axes[0].set_ylabel("accuracy")
    axes[0].legend(loc="lower right")
    per_cent(axes[0].yaxis)
    return Picture(figure, f"Held-out and test accuracy by epoch; at the end {'; '.join(words)}.")


def paired_gain(values: dict[str, Sequence[float]], gains: dict[str, Interval], title: str) -> Picture:
    """Two methods with shared seeds: at the left a line per seed, at the right the intervals of the gain.

    Args:
        values: name of a method -> one fraction per seed, the same seeds in both.
        gains: what was compared -> the gain of the second method over the first, with its interval.
        title: above the figure.
    """
    figure, (left, right) = new_figure(9, 2.9, columns=2, width_ratios=(1, 1.5))
    (first, ours), (second, theirs) = values.items()
    for pair in zip(ours, theirs, strict=True):
        left.plot([0, 1], pair, "o-", ms=6, color=COLOURS[0], alpha=0.7)
    left.set_xticks([0, 1], [plain(first), plain(second)])
    left.set(xlim=(-0.35, 1.35), ylabel="test accuracy", title="one line per seed")
    per_cent(left.yaxis)
    words = []
    for y, (name, gain) in enumerate(gains.items()):
        low, high = gain.low or 0, gain.high or 0
        right.plot([low, high], [y, y], lw=3, color=COLOURS[3], alpha=0.65)
        right.plot(gain.mean, y, "|", ms=14, mew=2.5, color="0.15")
        words.append(f"{name}: {100 * gain.mean:+.1f}, from {100 * low:+.1f} to {100 * high:+.1f}")
    right.axvline(0, color="0.4", lw=1)
    right.set_yticks(range(len(gains)), [plain(name) for name in gains])
    right.set(ylim=(len(gains) - 0.4, -0.6), xlabel="points", title="gain, with 95% interval")
    right.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f}")
    figure.suptitle(plain(title))
    each = ", ".join(f"{100 * (b - a):+.1f}" for a, b in zip(ours, theirs, strict=True))
    return Picture(figure, f"{title}, in points. Each seed: {each}; {'; '.join(words)}.")
