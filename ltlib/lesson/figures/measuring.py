"""The figures of lesson 02: classifier norms, temperatures, and held-out against test images."""

from __future__ import annotations

import numpy as np

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
